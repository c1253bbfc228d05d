"""What a point of several ranks is made of, on threads, scripted clocks and plain numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from thread_ranks import ThreadControl, on_ranks

from attention_impls.api import Unsupported
from attention_impls.distributed import sharding
from attention_impls.distributed.traffic import Count, all_gather, all_reduce, all_to_all
from attention_impls.shape import AttentionShape
from longbench_cli.measure.gate import Gate
from longbench_cli.measure.model_subject import ModelSubject
from longbench_cli.measure.ranks import point
from longbench_cli.measure.ranks.bandwidth import LARGER, Probe, measure_bandwidth, probes_of
from longbench_cli.measure.ranks.breakdown import EACH, ROUNDS, Breakdown, break_down
from longbench_cli.measure.ranks.control import agreed, first_of, together_by
from longbench_cli.measure.ranks.job import Place
from longbench_cli.measure.ranks.model_subject import batch_share
from longbench_cli.measure.ranks.sharing import Sharing, not_whole, over_mean, unlike
from longbench_cli.measure.ranks.steps import in_step
from longbench_cli.measure.ranks.timing import sample_all, warm_up_all
from longbench_cli.measure.verify import Wrong
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.settings import Settings

MS = 1_000_000
FIXTURES = Path(__file__).resolve().parents[3] / "fixtures"


class Script:
    """A bench and a clock: the rank's own iterations take what is scripted, and move the clock by the slowest's."""

    def __init__(self, took: Callable[[str, int], int], slowest: Callable[[str, int], int]) -> None:
        self.now, self.done, self.closed = 0, list[str](), False
        self._took, self._slowest = took, slowest

    def clock(self) -> int:
        return self.now

    def _run(self, what: str) -> int:
        number = self.done.count(what)
        self.done.append(what)
        self.now += self._slowest(what, number)
        return self._took(what, number)

    def draw(self) -> int:
        self.done.append("draw")
        return 0

    def iterate(self) -> int:
        return self._run("iterate")

    def full(self) -> int:
        return self._run("full")

    def compute(self) -> int:
        return self._run("compute")

    def collectives(self) -> int:
        return self._run("collectives")

    def close(self) -> None:
        self.closed = True


def script_of(rank: int, took: Callable[[int, str, int], int], ranks: int) -> Any:
    return Script(
        lambda what, number: took(rank, what, number),
        lambda what, number: max(took(other, what, number) for other in range(ranks)),
    )


def test_all_ranks_do_what_rank_0_says_as_often_as_it_says() -> None:
    def run(control: ThreadControl) -> tuple[Any, list[str]]:
        done: list[str] = []

        def doing(name: str, value: int) -> Callable[[], int]:
            return lambda: (done.append(name), value)[1]

        actions = {"a": doing("a", control.rank), "b": doing("b", 10 * control.rank)}
        return in_step(control, actions, lambda call: [call("b"), call("a"), call("b")]), done

    first, *others = on_ranks(3, run)
    assert first == ([[0, 10, 20], [0, 1, 2], [0, 10, 20]], ["b", "a", "b"])
    assert others == [(None, ["b", "a", "b"])] * 2


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        ([None, None], None),
        (["full", "full"], "full"),
        ([None, "full", "full"], "rank 1: full"),
        (["full", "empty"], "rank 0: full"),
    ],
)
def test_a_reason_names_its_rank_unless_all_have_it(reasons: list[str | None], said: str | None) -> None:
    assert first_of(reasons) == said


def test_what_one_rank_refuses_is_refused_by_all() -> None:
    def run(control: ThreadControl) -> str:
        def make() -> int:
            if control.rank == 2:
                raise Unsupported("no kernel")
            return 5

        try:
            return str(agreed(control, make))
        except Unsupported as reason:
            return str(reason)

    assert on_ranks(3, run) == ["rank 2: no kernel"] * 3
    assert on_ranks(2, run) == ["5", "5"]


def test_what_is_wrong_on_one_rank_is_wrong_on_all_with_the_worst_error() -> None:
    def run(control: ThreadControl) -> tuple[str, float]:
        def check() -> int:
            if control.rank:
                raise Wrong(f"off by {control.rank}", control.rank)
            return 7

        try:
            return str(together_by(control)(check)), 0.0
        except Wrong as wrong:
            return str(wrong), wrong.error

    assert on_ranks(4, run) == [("rank 1: off by 1", 3.0)] * 4
    assert on_ranks(1, run) == [("7", 0.0)]


def test_a_point_is_as_slow_as_its_slowest_rank_and_each_keeps_its_own() -> None:
    def took(rank: int, what: str, number: int) -> int:
        return (20 + (number % 3 == rank) * 10) * MS  # each rank is the slow one in its turn

    def run(control: ThreadControl) -> tuple[Any, list[str]]:
        bench = script_of(control.rank, took, 3)
        watched: list[str] = []

        class Watch:
            def pause(self) -> None:
                watched.append("pause")

            def resume(self) -> None:
                watched.append("resume")

        warm_up_all(control, bench, bench.clock, 10**10)
        warm = bench.done.count("iterate")
        bench.done.clear()
        settings, watch = Settings(min_iterations=9, max_iterations=9), Watch()
        timed = sample_all(control, bench, watch, settings, bench.clock, Gate(), lambda _done: None)  # type: ignore[arg-type]
        assert warm > 0
        return timed, watched

    results = on_ranks(3, run)
    timed = [timed for timed, _ in results]
    assert timed[0].sample is not None
    assert timed[0].sample.latency.iterations_ns == [30 * MS] * 9
    assert [one.sample for one in timed[1:]] == [None, None]
    assert timed[0].spread == pytest.approx(1 / 3)
    for rank, one in enumerate(timed):
        assert one.iterations_ns == [took(rank, "iterate", number) for number in range(9)]
        assert [end - start for start, end in one.windows] == one.iterations_ns
    assert all(watched == results[0][1] and watched[0] == "pause" for _, watched in results)


def test_short_iterations_that_are_not_recorded_are_dropped_on_every_rank() -> None:
    """The first of each set of inputs, where iterations are short."""

    def run(control: ThreadControl) -> Any:
        bench = script_of(control.rank, lambda rank, _what, number: MS + rank + 10 * number, 2)
        still: Any = type("Still", (), {"pause": lambda self: None, "resume": lambda self: None})()
        settings = Settings(min_iterations=60, max_iterations=60, max_time=100)
        return sample_all(control, bench, still, settings, bench.clock, Gate(), lambda _done: None)

    first, second = on_ranks(2, run)
    assert len(first.iterations_ns) == len(second.iterations_ns) == 60
    assert [b - a for a, b in zip(first.iterations_ns, second.iterations_ns, strict=True)] == [1] * 60
    assert first.sample.latency.iterations_ns == second.iterations_ns
    assert first.iterations_ns[0] == MS + 10  # number 1: number 0 was not recorded


def test_the_breakdown_takes_the_three_ways_in_turns_and_the_slowest_rank_of_each() -> None:
    """100 ms in full, of which 70 are compute on rank 0 and 40 on rank 1; the collectives alone take 50."""
    times = {"full": (100, 90), "compute": (70, 40), "collectives": (50, 45)}

    def run(control: ThreadControl) -> tuple[Breakdown | None, Any]:
        bench = script_of(control.rank, lambda rank, what, _number: times[what][rank] * MS, 2)
        return break_down(control, bench, bench.clock, 100_000 * MS), bench

    (found, bench), (nothing, other) = on_ranks(2, run)
    assert nothing is None
    assert found is not None
    assert (found.full_ns, found.compute_ns, found.communication_ns) == (100 * MS, 70 * MS, 50 * MS)
    assert found.ranks_compute_ns == (70 * MS, 40 * MS)
    assert found.exposed_ns == 30 * MS
    assert found.overlap == pytest.approx(0.4)
    assert bench.done == other.done == ROUNDS * ["draw", *EACH * ["full"], *EACH * ["compute"], *EACH * ["collectives"]]
    assert bench.closed
    assert other.closed


def test_a_breakdown_of_long_iterations_is_one_of_each_way() -> None:
    def run(control: ThreadControl) -> Any:
        bench = script_of(control.rank, lambda *_: 2000 * MS, 2)
        break_down(control, bench, bench.clock, 1000 * MS)
        return bench.done

    assert on_ranks(2, run) == [["draw", "full", "compute", "collectives"]] * 2


def test_a_breakdown_needs_room_on_every_rank_for_a_pass_and_all_that_it_exchanges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Eight messages of 100 bytes are sent and as many received: 1600 of the 1700 that each of two ranks has."""
    traffic = ({"send_recv": Count(8, 800, 800, 800)}, {"send_recv": Count(8, 0, 0, 800)})
    monkeypatch.setattr(point, "free_bytes", lambda _device: 3400)

    def run(control: ThreadControl) -> list[bool]:
        one: Any = object.__new__(point._Point)
        one._control, one._sharing = control, Sharing("sequence", "ring", (), (), None, traffic)  # type: ignore[arg-type]
        one._case = type("Case", (), {"device": "cpu"})()
        one._job = type("Job", (), {"place": Place(control.rank, 2, control.rank, 2)})()
        return [one._has_room(99), one._has_room(100 * control.rank)]

    assert on_ranks(2, run) == [[True, False]] * 2


@pytest.mark.parametrize(
    ("times", "exposed", "overlap"),
    [((100, 120, 10), 0, 1.0), ((100, 10, 50), 90, 0.0), ((100, 90, 0), 10, None), ((100, 90, 20), 10, 0.5)],
)
def test_exposed_time_and_overlap_stay_within_their_bounds(
    times: tuple[int, int, int], exposed: int, overlap: float | None
) -> None:
    found = Breakdown(*times, ())
    assert (found.exposed_ns, found.overlap) == (exposed, overlap)


def test_each_kind_is_probed_at_its_mean_size_and_at_larger_ones_that_fit() -> None:
    traffic = [
        {"all_gather": Count(3, 3000, 1, 1)},
        {"all_gather": Count(1, 5000, 1, 1), "all_reduce": Count(1, 2**21, 1, 1)},
    ]
    found = probes_of(traffic, 2**24)  # type: ignore[arg-type]
    assert found == [
        Probe("all_gather", 2000), Probe("all_gather", 2**20), Probe("all_gather", 2**22),
        Probe("all_reduce", 2**21), Probe("all_reduce", 2**22),
    ]  # fmt: skip
    assert probes_of([{}, {"all_to_all": all_to_all(8, 8, 8)}], 2**40) == []


class Wire:
    """A communicator whose collectives take 1 ms and then 1 ns a byte (of what the caller's tensor holds)."""

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size, self.now = rank, world_size, 0

    def all_reduce(self, terms: torch.Tensor) -> Any:
        self.now += MS + terms.nbytes
        return type("Done", (), {"wait": lambda _self: terms})()

    def take_counts(self) -> dict[str, Count]:
        return {}

    def bind(self, work: Callable[[], Any]) -> Callable[[], int]:
        def once() -> int:
            before = self.now
            work()
            return self.now - before

        return once


@pytest.mark.parametrize("seconds", [0.0, 10.0])
def test_bandwidth_is_size_over_time_and_the_peak_is_the_greatest_seen(seconds: float) -> None:
    """Without time the pass's own size is measured all the same, and nothing else."""

    def run(control: ThreadControl) -> Any:
        wire: Any = Wire(control.rank, 4)
        probes = probes_of([{"all_reduce": all_reduce(1600, 4)}], 2**40)
        return measure_bandwidth(control, wire, wire, "cpu", probes, lambda: wire.now, round(seconds * 1e9))

    (found,), *others = on_ranks(4, run)
    assert others == [[]] * 3
    assert (found.kind, found.ranks, found.size_bytes, found.time_ns) == ("all_reduce", 4, 1600, MS + 1600)
    assert found.algorithm_bytes_per_s == pytest.approx(1600 / (MS + 1600) * 1e9)
    assert found.bus_bytes_per_s == pytest.approx(found.algorithm_bytes_per_s * 2 * 3 / 4)
    greatest = LARGER[-1] if seconds else 1600
    assert found.peak_size_bytes == greatest
    assert found.peak_bus_bytes_per_s == pytest.approx(greatest / (MS + greatest) * 1e9 * 1.5)


@pytest.mark.parametrize("pass_", ["bwd", "fwd+bwd", "step"])
def test_gradients_of_ranks_are_those_of_one_process(monkeypatch: pytest.MonkeyPatch, pass_: str) -> None:
    """In fp32; a parameter that nothing depends on has a gradient of zeros."""
    monkeypatch.syspath_prepend(str(FIXTURES))
    import tiny_models

    model = tiny_models.right.model
    case = Case.model_validate(
        {
            "impl": "tiny_models:right", "kind": "model", "backend": "auto", "pass": pass_, "seq_len": 40, "batch": 6,
            "heads": 1, "kv_heads": 1, "head_dim": 8, "dtype": "float32", "causal": True, "world_size": 3,
            "device": "cpu", "options": {},
        }
    )  # fmt: skip

    def gradients(subject: ModelSubject) -> list[torch.Tensor]:
        found = subject.work(subject.draw())()
        if pass_ == "step":
            found = [p.grad for p in subject._running.parameters.values()]
        return [torch.zeros(3) if one is None else one for one in found]

    def run(control: ThreadControl) -> list[torch.Tensor]:
        own = range(2 * control.rank, 2 * control.rank + 2)
        comm: Any = control
        return gradients(batch_share(case, model, None, 5, own, comm, control))

    expected = gradients(ModelSubject(case, model, None, 5))
    for found in on_ranks(3, run):
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def sharing(*spans: tuple[range, ...]) -> Sharing:
    return Sharing("sequence", "ring", spans, tuple(sum(map(len, own)) for own in spans), None, ())


@given(n=st.integers(1, 60), ranks=st.integers(1, 5), zigzag=st.booleans(), data=st.data())
def test_shares_that_lose_or_repeat_a_token_are_found(n: int, ranks: int, zigzag: bool, data: st.DataObject) -> None:
    shape = AttentionShape(n, world_size=ranks)
    spans = [(sharding.zigzag if zigzag else sharding.contiguous)(shape, rank) for rank in range(ranks)]
    assert not_whole(sharing(*spans), n) is None
    assert not_whole(sharing(*spans), n + 1) is not None
    some = data.draw(st.sampled_from([rank for rank in range(ranks) if any(spans[rank])]))
    held = next(span for span in spans[some] if span)
    moved = range(held.start, held.stop + data.draw(st.sampled_from([-1, 1])))
    changed = [tuple(moved if span is held else span for span in own) for own in spans]
    assert not_whole(sharing(*changed), n) is not None


def test_traffic_that_differs_is_told_with_both_numbers() -> None:
    counted = {"all_gather": all_gather(100, 300, 3) + all_gather(100, 300, 3)}
    assert unlike(counted, dict(counted)) is None  # type: ignore[arg-type]
    assert unlike({}, {"all_reduce": Count()}) is None
    assert unlike(counted, {"all_gather": all_gather(100, 300, 3)}) == (  # type: ignore[arg-type]
        "exchanged 2 calls of size 600 in all (400 bytes sent, 400 received) by all_gather in one iteration, "
        "but 1 call of size 300 in all (200 bytes sent, 200 received) are predicted"
    )


def test_imbalance_is_the_most_over_the_mean() -> None:
    assert over_mean([3.0, 1.0, 2.0]) == pytest.approx(0.5)
    assert over_mean((4, 4)) == 0
    assert over_mean([0, 0]) == 0
