"""Tables of points of several ranks: how they scale, what they exchange and what that costs, how fast it goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from longbench_cli.analyse.parallel_scaling import received_bytes
from longbench_cli.measure.judge import percent
from longbench_cli.measure.types import Bandwidth, RankRecord
from longbench_cli.present.rank_series import Exchange, RankSeries, format_speedup
from longbench_cli.present.tables import NOTHING, Cell, Table, number, whole, word
from longbench_cli.present.units import format_bytes, format_duration, format_rate
from longbench_cli.sweep.axes import format_length

_SCALING = (
    ("scaling", False), ("curve", False), ("problem", True), ("ranks", True), ("median", True), ("speed-up", True),
    ("efficiency", True), ("work efficiency", True),
)  # fmt: skip
_EXCHANGE = (
    ("curve", False), ("N", True), ("ranks", True), ("algorithm", False), ("full", True), ("compute alone", True),
    ("communication alone", True), ("exposed", True), ("hidden", True), ("most received by a rank", True),
    ("received by all", True), ("straggler spread", True), ("imbalance of work", True),
    ("imbalance of time", True),
)  # fmt: skip
_BANDWIDTH = (
    ("curve", False), ("N", True), ("ranks", True), ("collective", False), ("among", True), ("size", True),
    ("time", True), ("algorithm bandwidth", True), ("bus bandwidth", True), ("greatest seen", True), ("at size", True),
)  # fmt: skip
_RANKS = (
    ("curve", False), ("N", True), ("ranks", True), ("rank", True), ("host", False), ("device", False),
    ("threads", True), ("tokens", True), ("pairs", True), ("median", True), ("compute alone", True),
    ("peak memory", True), ("sent", True), ("received", True), ("collectives", True),
)  # fmt: skip


def scaling_table(series: Sequence[RankSeries]) -> Table:
    """Each point of each curve over ranks, against the smallest count of the curve."""
    return _table(_SCALING, (row for one in series for row in _scaling_rows(one)))


def exchange_table(exchanges: Sequence[Exchange]) -> Table:
    """What each point exchanged, what that cost, and how even its ranks were."""
    return _table(_EXCHANGE, map(_exchange_row, exchanges))


def bandwidth_table(exchanges: Sequence[Exchange]) -> Table:
    """How fast each collective of each point went, beside the fastest that its run saw of its kind among as many."""
    peaks = _peaks(exchanges)
    return _table(_BANDWIDTH, (row for one in exchanges for row in _bandwidth_rows(one, peaks)))


def ranks_table(exchanges: Sequence[Exchange]) -> Table:
    """Every rank of every point."""
    return _table(_RANKS, (_rank_row(one, rank) for one in exchanges for rank in one.ranks))


def _table(columns: tuple[tuple[str, bool], ...], rows: Iterable[tuple[Cell, ...]]) -> Table:
    return Table(tuple(title for title, _ in columns), tuple(numeric for _, numeric in columns), tuple(rows))


def _scaling_rows(series: RankSeries) -> Iterator[tuple[Cell, ...]]:
    for at in series.curve.points:
        yield (
            word(series.curve.way),
            word(series.label),
            Cell(series.problem, series.size),
            whole(at.ranks),
            number(at.point.latency.median_ns, format_duration),
            number(at.speedup, format_speedup),
            number(at.efficiency, percent),
            number(at.work_efficiency, percent),
        )


def _where(one: Exchange) -> tuple[Cell, Cell, Cell]:
    case = one.point.case
    return word(one.label), Cell(format_length(case.seq_len), case.seq_len), whole(case.world_size)


def _exchange_row(one: Exchange) -> tuple[Cell, ...]:
    told, received = one.told, received_bytes(one.ranks)
    bytes_ = (number(max(received), format_bytes), number(sum(received), format_bytes))
    if told is None:
        return (*_where(one), *[NOTHING] * 6, *bytes_, *[NOTHING] * 3)
    return (
        *_where(one),
        word(f"{told.algorithm}, {told.shares} shared"),
        number(told.full_ns, format_duration),
        number(told.compute_ns, format_duration),
        number(told.communication_ns, format_duration),
        number(told.exposed_ns, format_duration),
        number(told.overlap, percent),
        *bytes_,
        number(told.straggler_spread, percent),
        number(told.imbalance, percent),
        number(told.imbalance_measured, percent),
    )


_Peaks = dict[tuple[int, str, int], Bandwidth]
"""By run, kind and number of ranks."""


def _peaks(exchanges: Sequence[Exchange]) -> _Peaks:
    found: _Peaks = {}
    for one in exchanges:
        for seen in one.told.bandwidth if one.told else ():
            place = (one.run, seen.kind, seen.ranks)
            if place not in found or seen.peak_bus_bytes_per_s > found[place].peak_bus_bytes_per_s:
                found[place] = seen
    return found


def _bandwidth_rows(one: Exchange, peaks: _Peaks) -> Iterator[tuple[Cell, ...]]:
    for seen in one.told.bandwidth if one.told else ():
        peak = peaks[one.run, seen.kind, seen.ranks]
        yield (
            *_where(one),
            word(seen.kind.replace("_", "-")),
            whole(seen.ranks),
            number(seen.size_bytes, format_bytes),
            number(seen.time_ns, format_duration),
            number(seen.algorithm_bytes_per_s, format_rate),
            number(seen.bus_bytes_per_s, format_rate),
            number(peak.peak_bus_bytes_per_s, format_rate),
            number(peak.peak_size_bytes, format_bytes),
        )


def _rank_row(one: Exchange, rank: RankRecord) -> tuple[Cell, ...]:
    counts = rank.traffic.values()
    return (
        *_where(one),
        whole(rank.rank),
        word(rank.host or ""),
        word(rank.device),
        whole(rank.threads),
        whole(rank.tokens),
        NOTHING if rank.pairs is None else whole(rank.pairs),
        number(rank.median_ns, format_duration),
        number(rank.compute_ns, format_duration),
        number(rank.peak_bytes, format_bytes),
        number(sum(count.sent_bytes for count in counts), format_bytes),
        number(sum(count.received_bytes for count in counts), format_bytes),
        whole(sum(count.calls for count in counts)),
    )
