"""The picture of a mask: each cell is the mask's, each tile the share of its pairs."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_impls.dilated.pattern import DilatedPattern
from attention_impls.dilated.schedule import Schedule
from attention_impls.pattern import FullPattern, Pattern
from attention_impls.shape import AttentionShape
from attention_impls.sparse.pattern import StridedPattern
from longbench_cli.analyse import pattern_tiles
from longbench_cli.analyse.pattern_tiles import MOST_TILES, Tiles, tile_pattern
from longbench_cli.errors import UsageError
from longbench_cli.present import pattern_figure
from longbench_cli.present.pattern_figure import to_html
from longbench_cli.present.pattern_picture import Picture, check_format, shades_of, token_ticks, write_picture
from longbench_cli.present.pattern_svg import to_svg

SVG = "{http://www.w3.org/2000/svg}"
EVIL = '</title><script>alert("x")</script>'


def mask_of(pattern: Pattern, heads: range) -> np.ndarray:
    """How often each query sees each key, by counting."""
    n = pattern.shape.seq_len
    counts = np.zeros((n, n))
    for head in heads:
        for query in range(n):
            for keys in pattern.key_ranges(head, query):
                counts[query, list(keys)] += 1
    return counts


def drawn_levels(svg: str, tiles: int) -> np.ndarray:
    """The shade of every tile as the SVG's paths cover it, 0 where none does; no tile is covered twice."""
    root = ET.fromstring(svg)
    cells = next(group for group in root.iter(f"{SVG}g") if group.get("id") == "cells")
    found = np.zeros((tiles, tiles), dtype=int)
    for path in cells.iter(f"{SVG}path"):
        for run in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\3z", path.get("d", "")):
            x, y, width = map(int, run)
            assert not found[y, x : x + width].any()
            found[y, x : x + width] = int(path.get("data-level", "0"))
    return found


def dilated(n: int, heads: int = 3, causal: bool = True) -> DilatedPattern:
    shape = AttentionShape(n, heads=heads, kv_heads=1, causal=causal)
    return DilatedPattern(shape, Schedule.of([8, 24, 96], [1, 3, 12]))


def picture(tiles: Tiles, title: str = "a mask") -> Picture:
    return Picture(title, ("one line", "another & more"), tiles)


@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(1, 4), st.booleans(), st.booleans(), st.data())
def test_the_cells_of_the_svg_are_the_mask(
    n: int, heads: int, causal: bool, strided: bool, data: st.DataObject
) -> None:
    shape = AttentionShape(n, heads=heads, kv_heads=1, causal=causal)
    pattern = StridedPattern(shape, 5) if strided else dilated(n, heads, causal)
    chosen = range(heads) if data.draw(st.booleans()) else range(heads - 1, heads)
    tiles = tile_pattern(pattern, chosen)
    assert tiles.exact
    np.testing.assert_array_equal(drawn_levels(to_svg(picture(tiles)), n), mask_of(pattern, chosen))


@settings(max_examples=10)
@given(st.integers(MOST_TILES + 1, 4 * MOST_TILES), st.booleans())
def test_a_tile_is_the_share_of_its_pairs(n: int, causal: bool) -> None:
    pattern, heads = dilated(n, 2, causal), range(2)
    tiles, mask = tile_pattern(pattern, heads), mask_of(pattern, heads)
    size = tiles.size
    assert (size, tiles.spacing) == (math.ceil(n / MOST_TILES), 1)
    expected = [[mask[y : y + size, x : x + size].mean() / 2 for x in range(0, n, size)] for y in range(0, n, size)]
    np.testing.assert_allclose(tiles.values, expected, rtol=1e-12)


def test_sampled_rows_stand_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows spaced by a power of two would meet only phases that are multiples of it."""
    for name, value in (("MOST_TILES", 16), ("ROWS", 16 * 16 * 8), ("LEAST_ROWS", 16)):
        monkeypatch.setattr(pattern_tiles, name, value)
    pattern = DilatedPattern(AttentionShape(1 << 14), Schedule.of([1 << 10, 1 << 14], [2, 16]))
    tiles = tile_pattern(pattern, range(8))
    assert (tiles.size, tiles.spacing) == (1024, 61)
    assert tiles.values.sum() * 8 * tiles.size**2 == pytest.approx(pattern.pairs(), rel=0.1)
    off_diagonal = tiles.values[~np.eye(16, dtype=bool)]
    assert off_diagonal.min() > 0
    assert off_diagonal.mean() == pytest.approx(1 / 16**2, rel=0.1)


def test_the_densities_drawn_grow_with_the_density() -> None:
    tiles = tile_pattern(dilated(600), range(3))
    levels = drawn_levels(to_svg(picture(tiles)), len(tiles.values))
    np.testing.assert_array_equal(levels > 0, tiles.values > 0)
    order = np.argsort(tiles.values, axis=None)
    assert (np.diff(levels.ravel()[order]) >= 0).all()
    assert levels.max() > levels[levels > 0].min()


def test_one_density_everywhere_is_a_scale_too() -> None:
    tiles = tile_pattern(FullPattern(AttentionShape(512)), range(8))
    assert (drawn_levels(to_svg(picture(tiles)), 256) > 0).all()
    assert [label for _, label in shades_of(tiles).ticks] == ["0.5", "1", "2"]


def test_many_heads_have_round_numbers_on_the_scale() -> None:
    shape = AttentionShape(4, heads=48, kv_heads=1)
    shades = shades_of(tile_pattern(FullPattern(shape), range(48)))
    assert len(shades.swatches) == 48
    assert [label for _, label in shades.ticks] == [
        "4",
        "8",
        "12",
        "16",
        "20",
        "24",
        "28",
        "32",
        "36",
        "40",
        "44",
        "48",
    ]


def test_a_picture_says_what_it_is_and_what_its_axes_are() -> None:
    root = ET.fromstring(to_svg(picture(tile_pattern(dilated(1024), range(3)), EVIL)))
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert {EVIL, "one line", "another & more", "key (token)", "query (token)", "density", "not seen"} <= set(words)
    assert "each tile is 4 × 4 tokens: pairs seen over its area, mean of 3 heads; every query counted" in words
    assert words.count("128") == words.count("1k") == 2
    assert not list(root.iter(f"{SVG}script"))


@pytest.mark.parametrize(
    ("n", "ticks"), [(1, [0, 1]), (8, list(range(9))), (16, list(range(0, 17, 2))), (10_000, [*range(0, 10_000, 2048)])]
)
def test_ticks_are_round(n: int, ticks: list[int]) -> None:
    assert token_ticks(n) == ticks


def test_the_figure_holds_the_same_values() -> None:
    for n in (40, 600):
        tiles = tile_pattern(dilated(n), range(3))
        figure = pattern_figure.pattern_figure(picture(tiles))
        (trace,) = figure.data
        drawn = np.asarray(trace.z, dtype=float)
        values = drawn if tiles.exact else 10**drawn
        np.testing.assert_allclose(np.nan_to_num(values), tiles.values, rtol=1e-9)
        assert (trace.zmin, trace.zmax) == pytest.approx((0.5, tiles.values.max() + 0.5)) or not tiles.exact
        assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]  # the first query is at the top


def test_html_stands_alone_and_its_words_are_words(tmp_path: Path) -> None:
    page = to_html(picture(tile_pattern(dilated(20), range(3)), EVIL))
    assert EVIL not in page
    assert not re.search(r"<(script|link)[^>]+(src|href)=", page)
    write_picture(tmp_path / "mask.HTML", picture(tile_pattern(dilated(20), range(3))))
    assert "plotly" in (tmp_path / "mask.HTML").read_text(encoding="utf-8")


def test_svg_needs_no_kaleido_and_png_says_that_it_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    drawing = picture(tile_pattern(dilated(20), range(3)))
    write_picture(tmp_path / "mask.svg", drawing)
    assert (tmp_path / "mask.svg").read_text(encoding="utf-8") == to_svg(drawing)
    with pytest.raises(UsageError, match=r"mask.png: PNG needs kaleido: pip install 'longbench-cli\[png\]'"):
        write_picture(tmp_path / "mask.png", drawing)


def test_png_is_plotlys_and_a_failure_of_its_browser_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_args: object, **_more: object) -> bytes:
        raise RuntimeError("no Chrome\nfound")

    drawing = picture(tile_pattern(dilated(20), range(3)))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr("plotly.graph_objects.Figure.to_image", lambda *_args, **_more: b"\x89PNG")
    write_picture(tmp_path / "mask.png", drawing)
    assert (tmp_path / "mask.png").read_bytes() == b"\x89PNG"
    monkeypatch.setattr("plotly.graph_objects.Figure.to_image", fail)
    with pytest.raises(UsageError, match=r"kaleido cannot draw: no Chrome found: choose \.svg or \.html"):
        write_picture(tmp_path / "mask.png", drawing)


@pytest.mark.parametrize("name", ["mask", "mask.pdf", "svg"])
def test_other_formats_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"must end in .svg, .png or .html"):
        check_format(Path(name))
