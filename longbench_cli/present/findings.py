"""What was found, in one line a curve."""

from __future__ import annotations

from longbench_cli.analyse.scaling import LEAST_POINTS
from longbench_cli.present.series import Series
from longbench_cli.present.trust import doubts
from longbench_cli.present.units import count, format_fixed, format_range, format_ratio
from longbench_cli.sweep.axes import format_length


def format_exponent(series: Series) -> str:
    """``1.02 (1.00–1.05)``, or an empty string without a fit."""
    fit = series.fit
    if fit is None:
        return ""
    return f"{format_fixed(fit.exponent, 2)} ({format_fixed(fit.low, 2)}–{format_fixed(fit.high, 2)})"


def finding(series: Series) -> str:
    """``dilated fwd: time ~ N^1.02 (1.00–1.05) over 8k–64k; 12× faster than vanilla at 64k``."""
    return f"{series.label}: {'; '.join(sentences(series))}"


def sentences(series: Series) -> list[str]:
    """What is said of a curve: how it grows and compares, which points are not trusted, and which are missing."""
    said = (growth(series), comparison(series), doubts(series.curve.points), missing(series))
    return [part for part in said if part]


def growth(series: Series) -> str:
    """How the time grows, or plainly why that cannot be said."""
    if series.fit is None:
        measured = len(series.curve.measured)
        return f"no exponent: {count(measured, 'point')} measured, {LEAST_POINTS} needed"
    return f"time ~ N^{format_exponent(series)} over {format_range((series.fit.shortest, series.fit.longest))}"


def comparison(series: Series) -> str:
    """How it compares with full attention at the longest common length; empty if it cannot be compared."""
    speedup = series.speedup
    if speedup is None:
        return ""
    # A model's baseline may be in the same report with other attentions; an attention's is one by name.
    which = f"{speedup.baseline} with full attention" if series.curve.case.kind == "model" else speedup.baseline
    where = f"{which} at {format_length(speedup.seq_len)}"
    if speedup.interval is not None and not speedup.significant:
        return f"no faster or slower than {where} beyond the noise"
    if speedup.ratio >= 1:
        return f"{format_ratio(speedup.ratio)} faster than {where}"
    return f"{format_ratio(1 / speedup.ratio)} slower than {where}"


def missing(series: Series) -> str:
    """``pruned from 128k``, ``incorrect at 8k–64k``: the points without a number."""
    by_status: dict[str, list[int]] = {}
    for point in series.curve.unmeasured:
        by_status.setdefault(point.status, []).append(point.case.seq_len)
    return ", ".join(f"{status} at {format_range(lengths)}" for status, lengths in by_status.items())
