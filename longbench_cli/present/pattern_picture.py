"""The picture of a mask: its words, its shades, and the file it goes to.

SVG is written here, as vectors, without a browser; HTML (to zoom and to point at) and PNG are plotly's.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from longbench_cli.analyse.pattern_tiles import Tiles
from longbench_cli.errors import UsageError
from longbench_cli.present.files import write_whole
from longbench_cli.present.units import format_significant
from longbench_cli.sweep.axes import format_length

FORMATS = (".svg", ".png", ".html")
COLORS = ("#bdd7ec", "#6baed6", "#2878b8", "#08306b")
"""From few to many; white is none. In print and to any colour vision, darker is more."""
_STEPS = 48
_MOST_SWATCHES = 12
_MOST_TICKS = 9


@dataclass(frozen=True, slots=True)
class Picture:
    """A mask with what it says above it: a title, and lines of what was asked for."""

    title: str
    lines: tuple[str, ...]
    tiles: Tiles

    @property
    def note(self) -> str:
        """What a shade stands for."""
        tiles = self.tiles
        if tiles.exact:
            heads = f", summed over {tiles.heads} heads" if tiles.heads > 1 else ""
            return f"each cell is a pair: how often the query sees the key{heads}"
        counted = "every query" if tiles.spacing == 1 else f"one query in {tiles.spacing}"
        heads = f", mean of {tiles.heads} heads" if tiles.heads > 1 else ""
        return f"each tile is {tiles.size} × {tiles.size} tokens: pairs seen over its area{heads}; {counted} counted"

    @property
    def measure(self) -> str:
        """The title of the scale."""
        return "times seen" if self.tiles.exact else "density"


@dataclass(frozen=True, slots=True)
class Shades:
    """The scale of a picture's values: linear and whole for cells, logarithmic for densities.

    ``swatches`` are (from, to, colour) and ``ticks`` (place, label), places from 0 (low) to 1 (high).
    """

    low: float
    high: float
    logarithmic: bool
    swatches: tuple[tuple[float, float, str], ...]
    ticks: tuple[tuple[float, str], ...]

    def levels(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """The swatch of each value; -1 for 0, which has none."""
        steps = len(self.swatches)
        with np.errstate(divide="ignore"):
            scaled = np.log(values) if self.logarithmic else values
        low, high = (math.log(end) if self.logarithmic else end for end in (self.low, self.high))
        place = (scaled - low) / (high - low)
        found: NDArray[np.int64] = np.full(values.shape, -1, dtype=np.int64)
        seen = values > 0
        found[seen] = np.clip((place[seen] * steps).astype(np.int64), 0, steps - 1)
        return found


def shades_of(tiles: Tiles) -> Shades:
    """The scale that fits the values of ``tiles``."""
    seen = tiles.values[tiles.values > 0]
    most = float(seen.max()) if seen.size else 1.0
    if tiles.exact:
        steps = round(most)
        if steps <= _MOST_SWATCHES:  # a swatch a number, its label at the middle
            ticks = tuple(((number - 0.5) / steps, str(number)) for number in range(1, steps + 1))
        else:
            every = 1 << max(0, (steps // 8).bit_length() - 1)
            ticks = tuple(((number - 0.5) / steps, str(number)) for number in range(every, steps + 1, every))
        return Shades(0.5, steps + 0.5, False, _swatches(steps), ticks)
    least = float(seen.min()) if seen.size else most
    if most / least < 1.01:  # all alike, but for rounding
        least, most = least / 2, most * 2
    return Shades(least, most, True, _swatches(_STEPS), _decades(least, most))


def _decades(low: float, high: float) -> tuple[tuple[float, str], ...]:
    span = math.log(high / low)
    digits = (1.0,) if high / low >= 1000 else (1.0, 2.0, 5.0)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    numbers = [digit * 10.0**exponent for exponent in exponents for digit in digits]
    return tuple((math.log(n / low) / span, f"{n:.10g}") for n in numbers if low <= n <= high) or (
        (0.0, format_significant(low)),
        (1.0, format_significant(high)),
    )


def _swatches(steps: int) -> tuple[tuple[float, float, str], ...]:
    return tuple((i / steps, (i + 1) / steps, _color(i / (steps - 1) if steps > 1 else 2 / 3)) for i in range(steps))


def _color(place: float) -> str:
    """The colour at ``place`` (0 to 1) of :data:`COLORS`."""
    at = min(int(place * (len(COLORS) - 1)), len(COLORS) - 2)
    share = place * (len(COLORS) - 1) - at
    ends = [[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in COLORS[at : at + 2]]
    return "#" + "".join(f"{round(one + (other - one) * share):02x}" for one, other in zip(*ends, strict=True))


def token_ticks(seq_len: int) -> list[int]:
    """Round token positions, at most about nine of them, from 0 on; the end too if it is round."""
    step = 1
    while seq_len // step >= _MOST_TICKS:
        step *= 2
    return list(range(0, seq_len + 1, step))


def tick_texts(ticks: Sequence[int]) -> list[str]:
    """``0``, ``8k``, ``16k``."""
    return [format_length(tick) for tick in ticks]


def check_format(path: Path) -> None:
    """Refuse what cannot be drawn, before anything is computed.

    Raises:
        UsageError: an unknown suffix, or PNG without kaleido.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"--picture {path}: the name must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    if suffix == ".png" and importlib.util.find_spec("kaleido") is None:
        raise UsageError(
            f"--picture {path}: PNG needs kaleido: pip install 'longbench-cli[png]', or choose .svg or .html"
        )


def write_picture(path: Path, picture: Picture) -> None:
    """Draw ``picture`` to ``path``, in the format of its suffix.

    Raises:
        UsageError: the format is unknown or cannot be had here, or the file cannot be written.
    """
    check_format(path)
    if path.suffix.lower() == ".svg":
        from longbench_cli.present.pattern_svg import to_svg

        write_whole(path, to_svg(picture))
        return
    from longbench_cli.present.pattern_figure import to_html, to_png

    write_whole(path, to_html(picture) if path.suffix.lower() == ".html" else to_png(picture, path))
