"""The picture of a mask as SVG: rectangles, one path a shade, so that it prints sharp at any size."""

from __future__ import annotations

import html
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from longbench_cli.present.pattern_picture import Picture, Shades, shades_of, tick_texts, token_ticks

SIDE = 560
"""Pixels to a side of the mask."""
LEFT, RIGHT, BOTTOM = 84, 128, 62
_TITLE, _LINE = 26, 18
_GRID_UP_TO = 64
_INK, _FAINT = "#1f2933", "#5f6b7a"


def to_svg(picture: Picture) -> str:
    """``picture`` as a whole SVG document. Each path of ``#cells`` holds the tiles of one shade, a unit a tile."""
    above = (*picture.lines, picture.note)
    top = 16 + _TITLE + _LINE * len(above) + 10
    width, height = LEFT + SIDE + RIGHT, top + SIDE + BOTTOM
    shades = shades_of(picture.tiles)
    font = "Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif"
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{font}" font-size="13" fill="{_INK}">',
        f"<title>{html.escape(picture.title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        _text(LEFT, 16 + 14, picture.title, 'font-size="17" font-weight="bold"'),
        *(_text(LEFT, 16 + _TITLE + 14 + _LINE * i, line, f'fill="{_FAINT}"') for i, line in enumerate(above)),
        f'<g transform="translate({LEFT} {top})">',
        *_cells(picture, shades),
        *_axes(picture),
        *_scale(picture, shades),
        "</g>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _cells(picture: Picture, shades: Shades) -> Iterator[str]:
    tiles = picture.tiles
    unit = SIDE * tiles.size / tiles.seq_len  # the last tile may reach beyond the sequence: it is clipped
    yield f'<clipPath id="mask"><rect width="{SIDE}" height="{SIDE}"/></clipPath>'
    yield '<g clip-path="url(#mask)">'
    yield f'<g id="cells" transform="scale({unit:.9g})" shape-rendering="crispEdges">'
    paths: dict[int, list[str]] = {}
    for y, row in enumerate(shades.levels(tiles.values)):
        edges = [0, *(np.flatnonzero(np.diff(row)) + 1).tolist(), len(row)]
        for x, end in pairwise(edges):
            if row[x] >= 0:
                paths.setdefault(int(row[x]), []).append(f"M{x} {y}h{end - x}v1h{x - end}z")
    for level, path in sorted(paths.items()):
        yield f'<path fill="{shades.swatches[level][2]}" data-level="{level + 1}" d="{"".join(path)}"/>'
    yield "</g>"
    if tiles.exact and tiles.seq_len <= _GRID_UP_TO:
        lines = "".join(f"M0 {at:.6g}h{SIDE}M{at:.6g} 0v{SIDE}" for at in (unit * i for i in range(1, tiles.seq_len)))
        yield f'<path d="{lines}" stroke="#8794a3" stroke-opacity="0.35" stroke-width="0.75"/>'
    yield "</g>"


def _axes(picture: Picture) -> Iterator[str]:
    tiles = picture.tiles
    yield f'<rect width="{SIDE}" height="{SIDE}" fill="none" stroke="{_INK}"/>'
    ticks = token_ticks(tiles.seq_len)
    for tick, text in zip(ticks, tick_texts(ticks), strict=True):
        if tiles.exact and tick == tiles.seq_len:
            continue  # there is no token N
        at = SIDE * (tick + (0.5 if tiles.exact else 0.0)) / tiles.seq_len  # a cell's label is at its middle
        yield f'<path d="M{at:.6g} {SIDE}v5M0 {at:.6g}h-5" stroke="{_INK}"/>'
        yield _text(at, SIDE + 19, text, 'text-anchor="middle"')
        yield _text(-9, at + 4.5, text, 'text-anchor="end"')
    yield _text(SIDE / 2, SIDE + 44, "key (token)", 'text-anchor="middle" font-size="14"')
    yield _text(
        0, 0, "query (token)", f'text-anchor="middle" font-size="14" transform="translate(-58 {SIDE / 2})rotate(-90)"'
    )


def _scale(picture: Picture, shades: Shades) -> Iterator[str]:
    """The bar beside the mask, most at its top."""
    height = min(SIDE / 2, 22.0 * len(shades.swatches))
    yield f'<g transform="translate({SIDE + 28} 26)">'
    yield _text(0, -12, picture.measure)
    for low, high, color in shades.swatches:
        tall = height * (high - low)
        yield (
            f'<rect y="{height * (1 - high):.6g}" width="16" height="{tall:.6g}" fill="{color}" '
            'shape-rendering="crispEdges"/>'  # so that no seam shows
        )
    yield f'<rect width="16" height="{height:.6g}" fill="none" stroke="{_INK}" stroke-width="0.75"/>'
    for place, label in shades.ticks:
        at = height * (1 - place)
        yield f'<path d="M16 {at:.6g}h4" stroke="{_INK}" stroke-width="0.75"/>'
        yield _text(24, at + 4.5, label)
    yield f'<rect y="{height + 12:.6g}" width="16" height="16" fill="#fff" stroke="{_INK}" stroke-width="0.75"/>'
    yield _text(24, height + 24.5, "not seen")
    yield "</g>"


def _text(x: float, y: float, words: str, attributes: str = "") -> str:
    return f'<text x="{x:.6g}" y="{y:.6g}" {attributes}>{html.escape(words)}</text>'
