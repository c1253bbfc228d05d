"""What a case exchanges, what ranks counted of it, and which points belong together."""

from __future__ import annotations

from typing import Any

import pytest
from counted_runs import counted_point
from sample_runs import make_case, make_run, measured

from attention_impls.api import Implementation, Parallel
from attention_impls.distributed.traffic import Count, Traffic
from longbench_cli.analyse.comm import Exchanged, Refused, exchange_of, grouped
from longbench_cli.analyse.comm_counted import Comparison, compare, counted_points, same_exchange
from longbench_cli.sweep.case import Case


def _nothing(*_args: Any) -> Any:
    raise AssertionError("nothing is run")


def _refuse(shape: Any, _options: Any) -> str | None:
    return "three is a crowd" if shape.world_size == 3 else None


def _traffic(shape: Any, _options: Any, passes: str, element_bytes: int) -> tuple[Traffic, ...]:
    """Rank i gathers i tokens in i calls, and sends one message."""
    return tuple(
        {"all_gather": Count(rank, 100, 7, rank * element_bytes), "send_recv": Count(1, 8, 8, 8)}
        for rank in range(shape.world_size)
    )


SHARED = Implementation(
    name="shared",
    summary="a test's",
    load=_nothing,
    parallel=Parallel(("one",), _refuse, _nothing, _traffic, _nothing, _nothing),
)
ALONE = Implementation(name="alone", summary="a test's", load=_nothing, not_parallel="it is a recurrence")


def case(ranks: int, **changes: Any) -> Case:
    return make_case("shared", 4096, world_size=ranks, **changes)


def exchanged(ranks: int, **changes: Any) -> Exchanged:
    found = exchange_of(case(ranks, **changes), SHARED)
    assert isinstance(found, Exchanged)
    return found


def test_most_mean_total_and_calls_are_of_all_kinds_together() -> None:
    found = exchanged(4)
    assert (found.most, found.mean, found.total, found.calls) == (3 * 2 + 8, 11.0, 44, 4)
    assert (found.branches, found.counted) == ((), ())


@pytest.mark.parametrize(
    ("impl", "ranks", "reason"), [(SHARED, 3, "three is a crowd"), (ALONE, 2, "it is a recurrence")]
)
def test_what_cannot_be_shared_says_why(impl: Implementation, ranks: int, reason: str) -> None:
    found = exchange_of(case(ranks), impl)
    assert isinstance(found, Refused)
    assert reason in found.reason


def test_counts_that_agree_are_equal_whatever_order_ranks_stand_in() -> None:
    traffic = _traffic(case(4).shape, {}, "fwd", 2)
    (point,) = counted_points([make_run([counted_point(case(4), traffic)], "today.jsonl")])
    same = Comparison("today.jsonl", "sdpa-flash", "cpu", 14, 44, None)
    assert compare(traffic, point) == same
    (turned,) = counted_points([make_run([counted_point(case(4), traffic[::-1])], "today.jsonl")])
    assert compare(traffic, turned) != same


@pytest.mark.parametrize(
    ("found", "difference"),
    [
        (Count(2, 100, 7, 5), "rank 2, all_gather: received_bytes counted 5, computed 4"),
        (Count(3, 100, 7, 4), "rank 2, all_gather: calls counted 3, computed 2"),
        (Count(2, 101, 7, 4), "rank 2, all_gather: size_bytes counted 101, computed 100"),
        (Count(2, 100, 6, 4), "rank 2, all_gather: sent_bytes counted 6, computed 7"),
    ],
)
def test_any_count_of_any_rank_that_differs_is_named(found: Count, difference: str) -> None:
    computed = _traffic(case(4).shape, {}, "fwd", 2)
    ranks = [dict(one) for one in computed]
    ranks[2]["all_gather"] = found
    (point,) = counted_points([make_run([counted_point(case(4), ranks)])])
    assert compare(computed, point).difference == difference


def test_a_kind_or_a_rank_too_few_or_too_many_is_a_difference() -> None:
    computed = _traffic(case(4).shape, {}, "fwd", 2)

    def differs(ranks: list[dict[Any, Count]]) -> str | None:
        (point,) = counted_points([make_run([counted_point(case(4), ranks)])])
        return compare(computed, point).difference

    more = [{**one, "all_reduce": Count(1, 4, 4, 4)} for one in computed]
    less = [{"all_gather": one["all_gather"]} for one in computed]
    assert differs(more) == "rank 0, all_reduce: calls counted 1, computed 0"
    assert differs(less) == "rank 0, send_recv: calls counted 0, computed 1"
    assert differs([dict(one) for one in computed[:3]]) == "3 ranks are recorded, of 4"
    assert differs([{**one, "all_reduce": Count()} for one in computed]) is None  # none made is none


def test_only_measured_points_of_several_ranks_were_counted() -> None:
    traffic = _traffic(case(2).shape, {}, "fwd", 2)
    points = [measured(case(1), 1e6), counted_point(case(2), traffic), counted_point(case(2), traffic, session=1)]
    assert len(counted_points([make_run(points)])) == 2


def test_device_and_back_end_change_nothing_about_an_exchange_and_all_else_does() -> None:
    first = same_exchange(case(4))
    assert first == same_exchange(case(4, device="cuda", backend="auto"))
    assert first == same_exchange(case(4, options={"parallel": None}))
    for change in (
        {"causal": True}, {"dtype": "float32"}, {"heads": 4, "kv_heads": 4}, {"head_dim": 32}, {"batch": 2},
        {"pass_": "bwd"}, {"options": {"parallel": "ring"}},
    ):  # fmt: skip
        assert first != same_exchange(case(4, **change))
    assert first != same_exchange(case(2))


def test_points_of_a_variant_stand_together_by_length_and_ranks() -> None:
    points = [exchanged(4), exchanged(2, causal=True), exchanged(2), exchanged(4, causal=True)]
    strong = grouped(points, weak=False)
    assert [[p.case.world_size for p in group.points] for group in strong] == [[2, 4], [2, 4]]
    assert [group.case.causal for group in strong] == [False, True]
    assert strong[0].held(case(4)) == 4096
    assert grouped(points, weak=True)[0].held(case(4)) == 1024  # tokens of a rank


def test_the_batch_of_a_model_grows_under_weak_scaling_and_is_still_one_variant() -> None:
    cases = [make_case("model", 1024, kind="model", world_size=ranks, batch=3 * ranks) for ranks in (2, 4)]
    points = [Refused(one, "no") for one in cases]
    assert len(grouped(points, weak=True)) == 1
    assert len(grouped(points, weak=False)) == 2
    (weak,) = grouped(points, weak=True)
    assert (weak.holds_share, weak.held(cases[1])) == (False, 1024)
