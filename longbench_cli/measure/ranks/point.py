"""Measure one case on several ranks: pick the back end, verify, time, and take communication apart."""

from __future__ import annotations

import gc
from typing import Any

from attention_impls.api import Unsupported, get_implementation
from attention_impls.distributed.comm import Communicator
from longbench_cli.execute.states import StateWriter
from longbench_cli.measure.clock import Timer, now_ns, timer_for
from longbench_cli.measure.gate import Gate
from longbench_cli.measure.memory import free_bytes
from longbench_cli.measure.pick import one_rank_of, pick_backend
from longbench_cli.measure.point import WARM_UP_SHARE, Report, as_incorrect, as_measured, run_first
from longbench_cli.measure.ranks.bandwidth import measure_bandwidth, probes_of
from longbench_cli.measure.ranks.bench import Bench
from longbench_cli.measure.ranks.breakdown import Breakdown, break_down
from longbench_cli.measure.ranks.control import Control, agreed, first_of, together_by
from longbench_cli.measure.ranks.job import Job
from longbench_cli.measure.ranks.model_subject import batch_share
from longbench_cli.measure.ranks.result import Answers, communication_of, of_worst, rank_record, tokens_of_energy
from longbench_cli.measure.ranks.sharing import kept_bytes, not_whole, sharing_of, unlike
from longbench_cli.measure.ranks.subject import SequenceShare
from longbench_cli.measure.ranks.timing import sample_all, warm_up_all
from longbench_cli.measure.slowed import slowed
from longbench_cli.measure.subjects import Subject
from longbench_cli.measure.telemetry.watch import Watch
from longbench_cli.measure.tolerance import OUTPUT_TOLERANCE
from longbench_cli.measure.types import Bandwidth, Memory, Verification
from longbench_cli.measure.verify import Verified, as_verification
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.settings import Settings

BREAKDOWN_SHARE = 0.3
"""Of the sampling time, what the breakdown may take."""

BANDWIDTH_SHARE = 0.1


def measure_ranks(
    job: Job,
    device: str,
    case: Case,
    settings: Settings,
    states: StateWriter,
    report: Report,
    gate: Gate,
    *,
    full_time: bool = False,
    slowdown: float = 0.0,
) -> dict[str, Any] | None:
    """The point's result, on rank 0; None on the others. Every rank calls it; ``device`` is the name of its own.

    ``full_time`` and ``slowdown`` as of :func:`~longbench_cli.measure.point.measure_point`.

    Raises:
        Unsupported: the implementation or back end does not do this case on such ranks.
        torch.OutOfMemoryError, MemoryError: it did not fit on this rank.
    """
    return _Point(job, device, case, settings, states, slowdown).measure(report, gate, full_time=full_time)


class _Point:
    """One case on all ranks, from this one's side."""

    def __init__(
        self, job: Job, device: str, case: Case, settings: Settings, states: StateWriter, slowdown: float
    ) -> None:
        if settings.graphs == "on":
            raise Unsupported("--graphs on: what several ranks exchange is no part of a CUDA graph; leave it out")
        self._job, self._device, self._case, self._states = job, device, case, states
        self._slowdown = slowdown
        self._settings = settings.model_copy(update={"graphs": "off"})
        self._impl = get_implementation(case.impl)
        self._sharing = sharing_of(case, self._impl)
        self._control: Control = job.control
        self._comm = Communicator(job.place.rank, job.place.world_size, job.groups, states.calls)

    def measure(self, report: Report, gate: Gate, *, full_time: bool) -> dict[str, Any] | None:
        job, case, settings, control, comm = self._job, self._case, self._settings, self._control, self._comm
        rank = job.place.rank
        self._states.stage("loading")
        timer = self._timer()
        backend = self._pick()
        count = case.seq_len if self._sharing.shares == "sequence" else case.batch
        reason = not_whole(self._sharing, count)
        if reason is not None:
            failed = as_verification("failed", 0, float("inf"), OUTPUT_TOLERANCE[case.dtype])
            return as_incorrect(backend, "resident", Verified(failed, reason))
        subject = agreed(control, lambda: self._subject(backend))
        subject.load_code()

        self._states.stage("verifying")
        first = run_first(subject, case.device, comm.take_counts)
        counted = comm.take_counts()
        verified = self._checked(subject.verify(first.inputs), unlike(counted, self._sharing.traffic[rank]))
        if verified.reason is not None:
            return as_incorrect(backend, "resident", verified)
        first.inputs = None
        subject.renew()
        gc.collect()

        self._states.stage("warming up")
        bench = Bench(subject, comm, timer)
        limit_ns = round(settings.max_time * WARM_UP_SHARE * 1e9)
        if max(control.numbers(first.took_ns)) < limit_ns:
            warm_up_all(control, bench, now_ns, limit_ns)
        self._states.stage("timing")
        with Watch(case.device, own=job.neighbours) as watch:
            timed = sample_all(
                control,
                bench,
                watch,
                settings,
                now_ns,
                gate,
                lambda done: report(done, None, "iterations", None),
                full_time=full_time,
            )
        timing = timer.timing()
        bench.close()

        self._states.stage("breakdown")
        breakdown, bandwidth = None, list[Bandwidth]()
        if self._has_room(first.peak_bytes or 0):
            timer = self._timer()  # another: what it learns of launching parts is no part of what was timed
            breakdown = self._break_down(Bench(subject, comm, timer))
            bandwidth = self._bandwidth(timer)
        memory = Memory(
            input_bytes=first.input_bytes,
            peak_bytes=first.peak_bytes,
            nvml_peak_bytes=watch.nvml_peak_bytes,
            reserved_peak_bytes=first.reserved_peak_bytes,
            nvml_process_peak_bytes=watch.nvml_process_peak_bytes,
        )
        hosts = control.exchange(job.host)
        telemetry = watch.telemetry(timed.windows, tokens_of_energy(case, self._sharing, hosts, rank))
        record = rank_record(rank, job.host, self._device, self._sharing, timed, memory, counted, telemetry)
        exchanged = control.exchange({"rank": record.model_dump(), "memory": memory.model_dump()})
        if timed.sample is None:
            return None
        answers = Answers.of(exchanged, breakdown)
        result = as_measured(
            case, settings, backend, "resident", verified, timed.sample, answers.memory(), telemetry, timing
        )
        communication = None
        if breakdown is not None:
            communication = communication_of(self._sharing, breakdown, timed.spread, bandwidth).model_dump()
        return result | {
            "verdict": answers.verdict(timed.sample.latency, settings.precision).model_dump(),
            "ranks": [one.model_dump() for one in answers.ranks],
            "communication": communication,
        }

    def _timer(self) -> Timer:
        device = self._case.device
        return slowed(timer_for(device, self._settings, self._job.line_up), self._slowdown, device)

    def _pick(self) -> str:
        """Rank 0's choice, which tries one rank's part of the work alone; the others wait for it."""
        picked = pick_backend(one_rank_of(self._case), self._settings) if self._control.rank == 0 else None
        backend: str = self._control.exchange(picked)[0]
        return backend

    def _subject(self, backend: str) -> Subject[Any]:
        case, impl, rank = self._case, self._impl, self._job.place.rank
        kernels = backend if impl.takes_backend else None
        if impl.model is not None:
            (sequences,) = self._sharing.spans[rank]
            return batch_share(case, impl.model, kernels, self._settings.seed, sequences, self._comm, self._control)
        if impl.parallel is None:
            raise Unsupported(impl.not_parallel)
        return SequenceShare(case, impl.parallel, kernels, self._settings.seed, self._comm, together_by(self._control))

    def _checked(self, verified: Verified, unlike_predicted: str | None) -> Verified:
        """The verdict of all ranks, the same on each; the traffic is looked at where the numbers are right."""
        answers = self._control.exchange([verified.verification.model_dump(), unlike_predicted])
        worst = of_worst([Verification.model_validate(found) for found, _ in answers])
        reason = verified.reason  # of all ranks already
        return Verified(worst, first_of([unlike for _, unlike in answers]) if reason is None else reason)

    def _has_room(self, peak_bytes: int) -> bool:
        """Whether every rank has memory for an iteration of which all that is sent and received is kept."""
        needed = peak_bytes + kept_bytes(self._sharing.traffic)
        return all(self._control.numbers(int(self._free_bytes() > needed)))

    def _break_down(self, bench: Bench) -> Breakdown | None:
        limit_ns = round(self._settings.max_time * BREAKDOWN_SHARE * 1e9)
        return break_down(self._control, bench, now_ns, limit_ns)

    def _bandwidth(self, timer: Timer) -> list[Bandwidth]:
        probes = probes_of(self._sharing.traffic, min(self._control.numbers(self._free_bytes())))
        limit_ns = round(self._settings.max_time * BANDWIDTH_SHARE * 1e9)
        return measure_bandwidth(self._control, self._comm, timer, self._case.device, probes, now_ns, limit_ns)

    def _free_bytes(self) -> int:
        """For this rank: those of a machine share its memory, but not their GPUs'."""
        return free_bytes(self._case.device) // (self._job.place.local_size if self._case.device == "cpu" else 1)
