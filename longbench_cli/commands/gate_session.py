"""Measures a duet: pair after pair of fresh processes, until the rule has decided every point."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from longbench_cli.analyse.comparison.rule import PAIRS
from longbench_cli.analyse.comparison.types import Comparison
from longbench_cli.execute.duet import Pair, Piece
from longbench_cli.execute.groups import fit_together
from longbench_cli.execute.interpreter import Interpreter
from longbench_cli.execute.outcome import Outcome
from longbench_cli.execute.sweep import timeout_of
from longbench_cli.record.journal import Journal, Run
from longbench_cli.record.missing_once import MissingOnce
from longbench_cli.record.points import record_of
from longbench_cli.sweep.case import Device
from longbench_cli.sweep.plan import Plan, PlannedPoint
from longbench_cli.sweep.predict import Execution, execution_of
from longbench_cli.sweep.settings import Settings

LEAST_ITERATIONS = 8
"""Of a pair and side, where an iteration is under 1 s: d is a median over turns, and a turn may be one iteration."""

AUTO = "auto"


def settings_of_pair(settings: Settings) -> Settings:
    """How one pair samples: the first pairs together take the time and the iterations that were asked for."""
    return settings.model_copy(
        update={
            "max_time": settings.max_time / PAIRS,
            "min_iterations": max(LEAST_ITERATIONS, math.ceil(settings.min_iterations / PAIRS)),
        }
    )


class SideFile:
    """The run file of one side: what is measured goes to the disk, and to ``run``, at once."""

    def __init__(self, journal: Journal, run: Run) -> None:
        self._journal, self.run = journal, run
        self._once = MissingOnce(run.points)

    def append(self, point: PlannedPoint, outcome: Outcome, pair: int) -> None:
        """Raises UsageError if it cannot be written any more."""
        line = self._once.drop_told(record_of(point, outcome, pair))
        self._journal.append(line)
        self.run.points.append(line)


@dataclass(frozen=True, slots=True)
class Round:
    """A pair that is over: its number, how many points it had, its seconds, and what all pairs say so far."""

    number: int
    points: int
    seconds: float
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class Seams:
    """What a session needs of the world: the sides' processes, free memory, a clock, and who is told what."""

    open_pair: Callable[[bool], Pair]
    free_bytes: Callable[[Device], int | None]
    clock: Callable[[], float]
    started: Callable[[int, PlannedPoint, int, int], None]
    finished: Callable[[Round], None]


def pairs_of(players: tuple[Interpreter, Interpreter]) -> Callable[[bool], Pair]:
    """Opens pairs of fresh processes of base and candidate; the argument says whether the candidate begins."""
    return lambda flipped: Pair(players, flipped=flipped)


def measure_duet(
    plan: Plan,
    files: tuple[SideFile, SideFile],
    judge: Callable[[], Comparison],
    seams: Seams,
    slowdown: float = 0.0,
) -> Comparison:
    """Run pairs until ``judge``, which reads the files of base and candidate, wants no more.

    A pair goes through all points that are undecided, every other one in reverse and with the candidate first.
    Pairs that the files hold already are not measured again. ``slowdown`` is put into the candidate.

    Raises:
        UsageError: a run file cannot be written any more.
    """
    session = _Session(plan, files, seams, slowdown)
    comparison = judge()
    while wanted := _wanted(plan, comparison):
        begin = seams.clock()
        number = session.play(wanted)
        comparison = judge()
        seams.finished(Round(number, len(wanted), seams.clock() - begin, comparison))
    return comparison


def _wanted(plan: Plan, comparison: Comparison) -> list[PlannedPoint]:
    """Points that the rule wants another pair of; those that have no record yet are not in the comparison."""
    verdicts = {verdict.key: verdict for verdict in comparison.points}
    return [point for point in plan.points if point.key not in verdicts or verdicts[point.key].wants > 0]


@dataclass(frozen=True, slots=True)
class _Way:
    """How a point is run: resident or streamed; both sides at once, or one after the other."""

    execution: Execution
    together: bool


class _Session:
    def __init__(self, plan: Plan, files: tuple[SideFile, SideFile], seams: Seams, slowdown: float) -> None:
        self._settings = plan.settings
        self._files, self._seams, self._slowdown = files, seams, slowdown
        self._next = 1 + max((point.session for file in files for point in file.run.points), default=-1)
        self._backends = _backends(files[0].run)
        self._ways = self._planned_ways(plan)

    def _planned_ways(self, plan: Plan) -> dict[str, _Way]:
        """By key: decided while no side holds memory, the same in every pair; as recorded, of a gate gone on with."""
        recorded = {point.key: point.execution for point in self._files[0].run.points if point.status == "ok"}
        ways = {}
        for point in plan.points:
            free = self._seams.free_bytes(point.case.device)
            execution = recorded.get(point.key) or execution_of(point, self._settings, free)
            ways[point.key] = _Way(execution, execution == "resident" and fit_together(point, 2, free))
        return ways

    def play(self, points: list[PlannedPoint]) -> int:
        """One pair through ``points``; its number."""
        number, self._next = self._next, self._next + 1
        odd = number % 2 == 1
        with self._seams.open_pair(odd) as pair:
            for place, point in enumerate(reversed(points) if odd else points, 1):
                self._seams.started(number, point, place, len(points))
                self._measure(pair, point, number)
        return number

    def _measure(self, pair: Pair, point: PlannedPoint, number: int) -> None:
        way = self._ways[point.key]
        if point.refused is not None:
            outcomes = (Outcome("unsupported", point.refused),) * 2
        else:
            outcomes = self._played(pair, point, way)
        for file, outcome in zip(self._files, outcomes, strict=True):
            file.append(point, replace(outcome, execution=way.execution), number)

    def _played(self, pair: Pair, point: PlannedPoint, way: _Way) -> tuple[Outcome, Outcome]:
        """What came of a point; one that ran out of memory beside the other is tried alone, as only that proves it."""
        base, candidate = (self._request(pair, point, way.execution, slowdown) for slowdown in (0.0, self._slowdown))
        piece = Piece(
            (base, candidate),
            timeout_s=timeout_of(self._settings, point.case.kind, point.predicted_seconds),
            world_size=point.case.world_size,
            together=way.together,
        )
        outcomes = pair.play(piece)
        if piece.together and any(outcome.status == "oom" for outcome in outcomes):
            self._ways[point.key] = replace(way, together=False)
            piece = replace(piece, together=False)
            outcomes = pair.play(piece)
        return outcomes if piece.together else (_without_turns(outcomes[0]), _without_turns(outcomes[1]))

    def _request(self, pair: Pair, point: PlannedPoint, execution: Execution, slowdown: float) -> dict[str, Any]:
        case = point.case
        if case.backend == AUTO:
            case = case.model_copy(update={"backend": self._backend(pair, point)})
        return {
            "case": case.model_dump(mode="json", by_alias=True),
            "settings": self._settings.model_dump(mode="json"),
            "execution": execution,
            "full_time": True,
            "slowdown": slowdown,
        }

    def _backend(self, pair: Pair, point: PlannedPoint) -> str:
        """The base's choice, made once: a duet of two back ends would say nothing of what changed."""
        if point.key not in self._backends:
            request = {
                "case": point.case.model_dump(mode="json", by_alias=True),
                "settings": self._settings.model_dump(mode="json"),
                "pick": True,
            }
            limit_s = timeout_of(self._settings, point.case.kind, point.predicted_seconds)
            picked = pair.ask(0, request, limit_s)
            backend = (picked.result or {}).get("backend") if picked.status == "ok" else None
            if backend is None:  # the next pair asks again
                return AUTO
            self._backends[point.key] = str(backend)
        return self._backends[point.key]


def _without_turns(outcome: Outcome) -> Outcome:
    """Of a side that was measured alone: its turns had no neighbours, and nothing may be made of them."""
    latency = (outcome.result or {}).get("latency")
    if not isinstance(latency, dict):
        return outcome
    return replace(outcome, result={**(outcome.result or {}), "latency": latency | {"turns": None}})


def _backends(run: Run) -> dict[str, str]:
    return {point.key: point.case.backend for point in run.points if point.status == "ok"}
