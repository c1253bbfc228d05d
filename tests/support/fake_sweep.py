"""The loop of a sweep with a table of answers in place of workers, and a clock that only they move on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from attention_impls.pattern import Cost
from longbench_cli.execute.groups import Job
from longbench_cli.execute.outcome import Outcome, Progress
from longbench_cli.execute.sweep import run_sweep
from longbench_cli.sweep.case import Case, Device
from longbench_cli.sweep.plan import Plan, PlannedPoint
from longbench_cli.sweep.settings import Settings

GIB = 2**30


def a_point(
    seq_len: int,
    impl: str = "vanilla",
    predicted_seconds: float = 0.1,
    predicted_bytes: int | None = None,
    *,
    streams: bool = False,
    backend: str = "auto",
    device: Device = "cpu",
) -> PlannedPoint:
    case = Case(
        impl=impl, backend=backend, pass_="fwd", seq_len=seq_len, batch=1, heads=8, kv_heads=8, head_dim=64,
        dtype="bfloat16", causal=False, world_size=1, device=device, options={},
    )  # fmt: skip
    flops = seq_len**2
    return PlannedPoint(
        case=case,
        key=case.key,
        details={},
        cost=Cost(flops=flops, dense_flops=flops, io_bytes=seq_len),
        input_bytes=seq_len,
        predicted_seconds=predicted_seconds,
        predicted_bytes=seq_len if predicted_bytes is None else predicted_bytes,
        streams=streams,
    )


def took(seconds: float) -> Outcome:
    return Outcome("ok", None, {"latency": {"median_ns": seconds * 1e9}})


@dataclass
class Bench:
    """Fake workers that answer from a table, and all that they saw.

    ``answers`` and ``lasts`` (seconds of a whole point) are by key.
    """

    answers: Mapping[str, Outcome | BaseException] = field(default_factory=dict)
    lasts: Mapping[str, float] = field(default_factory=dict)
    now: float = 0.0
    ran: list[str] = field(default_factory=list)
    groups: list[list[str]] = field(default_factory=list)
    timeouts: list[float] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)
    recorded: list[tuple[str, Outcome]] = field(default_factory=list)
    sessions: list[tuple[str, int]] = field(default_factory=list)
    announced: list[str] = field(default_factory=list)
    seen: list[Progress] = field(default_factory=list)
    never: list[tuple[str, int]] = field(default_factory=list)

    def run_group(
        self,
        jobs: Sequence[Job],
        limit_s: float,
        on_progress: Callable[[Progress], None],
        on_end: Callable[[Job, Outcome], None],
    ) -> None:
        assert len(self.recorded) >= len(self.ran)  # those before are on disk
        self.groups.append([job.point.key for job in jobs])
        self.limits.append(limit_s)
        for job in jobs:
            self.ran.append(job.point.key)
            self.timeouts.append(job.timeout_s)
            on_progress(Progress(1, None, "iterations", None))
            self.now += self.lasts.get(job.point.key, 0.0)
            answer = self.answers.get(job.point.key, took(0.001))
            if isinstance(answer, BaseException):
                raise answer
            on_end(job, answer)

    def sink(self, point: PlannedPoint, session: int, outcome: Outcome) -> None:
        self.recorded.append((point.key, outcome))
        self.sessions.append((point.key, session))

    def started(self, point: PlannedPoint) -> None:
        self.announced.append(point.key)

    def progress(self, progress: Progress) -> None:
        self.seen.append(progress)

    def left_out(self, point: PlannedPoint, sessions: int) -> None:
        self.never.append((point.key, sessions))

    def sweep(
        self,
        points: Sequence[PlannedPoint],
        done: Mapping[tuple[str, int], Outcome] | None = None,
        settings: Settings | None = None,
        free: int | None = GIB,
        budget: float | None = None,
    ) -> bool:
        plan = Plan(tuple(points), settings or Settings(), None, {}, budget)
        return run_sweep(plan, done or {}, self.run_group, self.sink, self, lambda _device: free, lambda: self.now)

    def statuses(self) -> list[str]:
        return [outcome.status for _, outcome in self.recorded]
