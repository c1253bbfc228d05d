"""Ticks of logarithmic axes that read as people say them: 8k, 10 ms, 4 GiB."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from longbench_cli.sweep.axes import format_length

MOST_TICKS = 10
LEAST_SPAN = 10.0
"""Least ratio of the ends of an axis of values."""


@dataclass(frozen=True, slots=True)
class LogAxis:
    """A logarithmic axis: the values it spans, and where its ticks are."""

    low: float
    high: float
    ticks: list[float]
    texts: list[str]

    @property
    def range(self) -> list[float]:
        """Ends in log10, as plotly wants them."""
        return [math.log10(self.low), math.log10(self.high)]


def length_axis(lengths: Sequence[int]) -> LogAxis:
    """Ticks at measured lengths, thinned evenly until they fit; the longest always has one."""
    distinct = sorted(set(lengths))
    step = math.ceil(len(distinct) / MOST_TICKS)
    shown = [float(length) for length in distinct[::-1][::step][::-1]]
    low, high = _padded(distinct[0], distinct[-1], 0.05)
    return LogAxis(low, high, shown, [format_length(int(length)) for length in shown])


def ranks_axis(ranks: Sequence[int]) -> LogAxis:
    """As :func:`length_axis`, of plain numbers."""
    axis = length_axis(ranks)
    return replace(axis, texts=[f"{tick:.0f}" for tick in axis.ticks])


def duration_axis(values_ns: Iterable[float]) -> LogAxis:
    """Powers of ten (1-2-5 steps on a short axis), named ns, µs, ms, s."""
    return _decimal(values_ns, _duration)


def rate_axis(values: Iterable[float]) -> LogAxis:
    """Powers of ten (1-2-5 steps on a short axis), as plain numbers."""
    return _decimal(values, _plain)


def bytes_axis(values: Iterable[float]) -> LogAxis:
    """Powers of two, named KiB, MiB, GiB."""
    low, high = _span(values)
    first, last = math.ceil(math.log2(low)), math.floor(math.log2(high))
    step = max(1, math.ceil((last - first + 1) / MOST_TICKS))
    powers = [power for power in range(first, last + 1) if power % step == 0]
    return LogAxis(low, high, [2.0**power for power in powers], [_binary(power) for power in powers])


def _span(values: Iterable[float]) -> tuple[float, float]:
    """The ends of ``values`` with some room, at least a decade: a flat curve should look flat."""
    known = list(values)
    low, high = _padded(min(known), max(known), 0.06) if known else (1.0, 10.0)
    missing = max(LEAST_SPAN / (high / low), 1.0) ** 0.5
    return low / missing, high * missing


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    room = max((high / low) ** share, 1.15)
    return low / room, high * room


def _decimal(values: Iterable[float], show: Callable[[float], str]) -> LogAxis:
    low, high = _span(values)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    span = high / low
    steps = (1,) if span > 10**3 else (1, 3) if span > 10**2 else (1, 2, 5)
    ticks = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
    thinned = ticks[:: math.ceil(len(ticks) / MOST_TICKS)]
    return LogAxis(low, high, thinned, [show(tick) for tick in thinned])


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _duration(value_ns: float) -> str:
    for scale, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if value_ns >= scale * 0.999999:
            return f"{value_ns / scale:,.4g} {unit}"
    return f"{value_ns:.4g} ns"


def _binary(power: int) -> str:
    for size, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if power >= size:
            return f"{2 ** (power - size)} {unit}"
    return f"{2**power} B" if power >= 0 else f"{2.0**power:g} B"
