"""Forecasts: what a case would take on the machine that its family was measured on, or on hardware known by profile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from attention_impls.api import Implementation
from longbench_cli.analyse.prediction.estimate import Estimate
from longbench_cli.analyse.prediction.families import Family
from longbench_cli.analyse.prediction.memory import MemoryModel, fit_memory
from longbench_cli.analyse.prediction.model import TimeModel, can_fit, fit_time
from longbench_cli.analyse.prediction.network import collectives_of
from longbench_cli.analyse.prediction.work import Layout, RankWork, planned_work
from longbench_cli.record.schema import MeasuredPoint
from longbench_cli.sweep.axes import format_length
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.hardware import Hardware
from longbench_cli.sweep.predict import RESIDENT_SHARE, Execution, predict_seconds
from longbench_cli.sweep.streaming import CHUNK_SHARE, KEPT_SHARE, stream_limits
from longbench_cli.sweep.workload import workload

Basis = Literal["predicted", "roofline"]
"""From measured points, or from a hardware profile alone: never measured, either way."""

Fits = Literal["resident", "streamed", "no"]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What nobody has measured.

    Attributes:
        case: what it is of.
        basis: what it rests on.
        execution: how it would be run.
        seconds: of one iteration; of a roofline without an interval, its ends being its value.
        peak_bytes: of the rank that needs most.
        room_bytes: what a rank has.
        fits: how it fits into that.
        notes: how far it is from what was measured, and what was assumed; one clause each.
        refused: why it cannot be run at all; then there are no numbers.
    """

    case: Case
    basis: Basis
    execution: Execution
    seconds: Estimate | None
    peak_bytes: Estimate | None
    room_bytes: int
    fits: Fits
    notes: tuple[str, ...]
    refused: str | None = None


@dataclass
class FamilyModel:
    """The fits of one family, each made when it is first needed.

    Attributes:
        family: the measured points.
        impl: what they are of.
        hardware: whose network is taken where none was measured.
        room_bytes: memory of a device, or of the node of a CPU.
        per_node: most ranks on one node; None for all of them.
    """

    family: Family
    impl: Implementation
    hardware: Hardware
    room_bytes: int
    per_node: int | None
    _times: dict[Execution, TimeModel] = field(default_factory=dict)
    _memories: dict[Execution, MemoryModel | None] = field(default_factory=dict)

    def forecast(self, case: Case) -> Forecast:
        """What ``case`` would take."""
        layout = self.layout(case)
        room = self.room_bytes // (layout.per_node if case.device == "cpu" else 1)
        refused = workload(case, self.impl).refused
        if refused:
            return Forecast(case, "predicted", "resident", None, None, room, "no", (), refused)
        execution, held, fits, why = self._execution(case, room)
        work = planned_work(case, self.impl, layout)
        seconds = self._time(execution).predict(case, work)
        notes = (*why, *self._notes(case, execution, work))
        return Forecast(case, "predicted", execution, seconds, held, room, fits, notes)

    def layout(self, case: Case) -> Layout:
        """Where the ranks of ``case`` would be."""
        return layout_of(case, self.per_node, self.family.machine.cores)

    def _execution(self, case: Case, room: int) -> tuple[Execution, Estimate, Fits, tuple[str, ...]]:
        return _choose(case, self.impl, room, self._memory("resident", case), lambda: self._memory("streamed", case))

    def _memory(self, execution: Execution, case: Case) -> Estimate:
        if execution not in self._memories:
            self._memories[execution] = fit_memory(self.family.points, self.impl, execution)
        model = self._memories[execution]
        if model is not None:
            return model.predict(case, self.impl)
        return _by_arithmetic(case, self.impl, execution, self.room_bytes)

    def _time(self, execution: Execution) -> TimeModel:
        if execution not in self._times:
            points = points_for(self.family.points, execution)
            self._times[execution] = fit_time(points, self.family.machine.cores, self.hardware.network)
        return self._times[execution]

    def _notes(self, case: Case, execution: Execution, work: RankWork) -> tuple[str, ...]:
        points = points_for(self.family.points, execution)
        return (*_distance(case, points), *self._assumed(case, points, execution, work))

    def _assumed(self, case: Case, points: Sequence[MeasuredPoint], execution: Execution, work: RankWork) -> list[str]:
        notes = []
        if any(point.execution != execution for point in points):
            notes.append(f"too few {execution} points: rate of resident and streamed ones together")
        model = self._time(execution)
        traffic, layout = work.traffic, work.layout
        if traffic and not model.collectives.measured(traffic, layout):
            notes.append(f"network of profile {self.hardware.name}, not measured")
        if traffic and not model.hidden(case):
            notes.append("overlap not measured: none is taken to be hidden")
        if case.device == "cpu" and layout.per_node > 1:
            notes.append(f"{layout.per_node} ranks share the machine")
        if model.never_so_crowded(layout):
            notes.append("more ranks than cores, not measured: a third slower is allowed for")
        return notes


def layout_of(case: Case, per_node: int | None, cores: int | None) -> Layout:
    """The ranks of ``case``, node after node."""
    return Layout(case.world_size, min(case.world_size, per_node or case.world_size), cores)


def points_for(points: Sequence[MeasuredPoint], execution: Execution) -> Sequence[MeasuredPoint]:
    """Those of that execution, if they are enough to fit a model to; else all."""
    same = [point for point in points if point.execution == execution]
    return same if can_fit(same) else points


def roofline(case: Case, impl: Implementation, hardware: Hardware, per_node: int | None, cores: int) -> Forecast:
    """A bound by a data sheet and an assumed efficiency; nothing was measured, and so there is no interval."""
    layout = layout_of(case, per_node, cores if case.device == "cpu" else None)
    room = hardware.memory_bytes // (layout.per_node if case.device == "cpu" else 1)
    whole = workload(case, impl)
    if whole.refused:
        return Forecast(case, "roofline", "resident", None, None, room, "no", (), whole.refused)
    seconds = predict_seconds(case, whole.parts, hardware, cores, whole.slowest_share)
    traffic = planned_work(case, impl, layout).traffic
    seconds += collectives_of([], layout.cores, hardware.network).seconds(traffic, layout)
    resident, streamed = (_by_arithmetic(case, impl, execution, room) for execution in ("resident", "streamed"))
    execution, held, fits, why = _choose(case, impl, room, resident, lambda: streamed)
    return Forecast(case, "roofline", execution, Estimate(seconds, seconds, seconds), held, room, fits, why)


def _choose(
    case: Case, impl: Implementation, room: int, resident: Estimate, streamed: Callable[[], Estimate]
) -> tuple[Execution, Estimate, Fits, tuple[str, ...]]:
    """As ``longbench run`` would, on a machine whose memory is free: what can be streamed is, beyond a quarter of it.

    Returns:
        How it is run, what that holds, how it fits, and why it cannot be streamed where that would be of use.
    """
    if case.world_size == 1 and impl.load_stream is not None and resident.value > RESIDENT_SHARE * room:
        refused = impl.refuse_stream(case.shape, case.options, *stream_limits(case, room))
        if refused is None:
            held = streamed()
            return "streamed", held, "streamed" if held.value <= room else "no", ()
        return "resident", resident, "resident" if resident.value <= room else "no", (refused,)
    return "resident", resident, "resident" if resident.value <= room else "no", ()


def _by_arithmetic(case: Case, impl: Implementation, execution: Execution, room: int) -> Estimate:
    """A rank's tensors; of a stream no more than its share of the memory, to which its chunks are cut."""
    if execution == "resident":
        held = float(workload(case, impl).peak_bytes)
    else:
        held = room * (1 / CHUNK_SHARE + 1 / KEPT_SHARE)
    return Estimate(held, held, held)


def _distance(case: Case, points: Sequence[MeasuredPoint]) -> list[str]:
    """How far ``case`` is from all that was measured."""
    lengths = [point.case.seq_len for point in points]
    ranks = sorted({point.case.world_size for point in points})
    notes = []
    if case.seq_len > max(lengths):
        notes.append(f"N {case.seq_len / max(lengths):.3g}x beyond {format_length(max(lengths))}")
    elif case.seq_len < min(lengths):
        notes.append(f"N {min(lengths) / case.seq_len:.3g}x below {format_length(min(lengths))}")
    if case.world_size not in ranks:
        notes.append(f"{case.world_size} ranks, measured with {', '.join(map(str, ranks))}")
    if case.batch * case.heads not in {point.case.batch * point.case.heads for point in points}:
        notes.append("batch and heads of another size than measured")
    return notes
