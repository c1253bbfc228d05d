"""Scaling over ranks: which points are compared, and the numbers that come of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rank_runs import on_ranks, ranks_case, scaled_points
from sample_runs import ENVIRONMENT, make_case, make_run, measured, unmeasured

from longbench_cli.analyse.parallel_scaling import RankCurve, rank_curves, shared_cores
from longbench_cli.record.schema import MeasuredPoint


def curves(*points: MeasuredPoint, way: str) -> list[RankCurve]:
    return [curve for curve in rank_curves([make_run(points)]) if curve.way == way]


def test_strong_scaling_compares_one_problem_on_more_ranks() -> None:
    short, long = curves(*scaled_points(), way="strong")
    assert [at.ranks for at in short.points] == [1, 2, 4]
    assert (short.case.seq_len, long.case.seq_len) == (8192, 16384)
    two = short.points[1]
    assert two.speedup == pytest.approx(2 / 1.05)
    assert two.efficiency == two.work_efficiency == pytest.approx(1 / 1.05)
    assert short.points[0].efficiency == 1


def test_weak_scaling_compares_as_much_a_rank() -> None:
    points = [
        measured(ranks_case("vanilla", 4096, 1), 1e6, noise=0.0),
        on_ranks(ranks_case("vanilla", 8192, 2), [2e6, 2e6], 1e5, 0.0),
        on_ranks(ranks_case("vanilla", 16384, 4), [4e6] * 4, 1e5, 0.0),
    ]
    (curve,) = curves(*points, way="weak")
    assert curve.case.seq_len == 4096
    assert [at.efficiency for at in curve.points] == pytest.approx([1, 0.5, 0.25])
    # Full attention has twice the pairs a rank on twice the ranks: the work a second stays as it was.
    assert [at.work_efficiency for at in curve.points] == pytest.approx([1, 1, 1])
    assert [at.speedup for at in curve.points] == [None] * 3
    assert not curves(*points, way="strong")


def test_the_ranks_of_a_model_are_compared_by_the_batch_of_one() -> None:
    made = {"kind": "model", "causal": True, "options": {"depth": 2}}
    one = measured(make_case("longnet", 1024, batch=2, **made), 1e6, noise=0.0)
    two = on_ranks(make_case("longnet", 1024, batch=4, world_size=2, **made), [1e6, 1e6], 1e5, 1e5)
    odd = on_ranks(make_case("longnet", 2048, batch=2, world_size=2, **made), [1e6, 1e6], 1e5, 1e5)
    (curve,) = curves(one, two, odd, way="weak")
    assert [at.point.case.batch for at in curve.points] == [2, 4]
    assert curve.case.batch == 2


def test_one_rank_is_the_base_of_every_algorithm() -> None:
    base = measured(ranks_case("vanilla", 8192, 1), 4e6, noise=0.0)
    others = [
        on_ranks(ranks_case("vanilla", 8192, 2, options={"parallel": name}), [2e6, 2e6], 1e5, each)
        for name, each in (("ring", 0.0), ("ulysses", 2e6))
    ]
    found = {curve.case.options["parallel"]: curve for curve in curves(base, *others, way="strong")}
    assert {name: curve.points[-1].speedup for name, curve in found.items()} == pytest.approx({"ring": 2, "ulysses": 1})


def test_what_ran_differently_is_not_compared() -> None:
    base = measured(ranks_case(ranks=1), 4e6, noise=0.0)
    other = on_ranks(ranks_case(ranks=2), [2e6, 2e6], 1e5, 0.0)
    assert len(curves(base, other, way="strong")) == 1
    for changes in ({"backend": "math"}, {"dtype": "float32"}, {"causal": True}, {"options": {"schedule": "lm"}}):
        case = other.case.model_copy(update=changes)
        assert not curves(base, other.model_copy(update={"case": case, "key": case.key}), way="strong")
    assert not curves(base.model_copy(update={"execution": "streamed"}), other, way="strong")
    assert not rank_curves([make_run([base], "a.jsonl"), make_run([other], "b.jsonl")])


def test_without_one_rank_the_smallest_count_is_the_base() -> None:
    (curve,) = curves(*scaled_points(lengths=[8192], counts=[2, 4, 8]), way="strong")
    assert [at.efficiency for at in curve.points] == pytest.approx([1, 1, 1])
    assert curve.points[-1].speedup == pytest.approx(4)


def test_points_without_a_time_and_clocks_that_saw_none_are_left_out() -> None:
    lost = unmeasured(ranks_case(ranks=2), "unsupported", "cannot be cut")
    blind = on_ranks(ranks_case(ranks=4), [0.0] * 4, 0.0, 0.0)
    assert not rank_curves([make_run([measured(ranks_case(ranks=1), 1e6), lost, blind])])


@given(
    st.dictionaries(st.sampled_from([1, 2, 3, 4, 6, 8]), st.floats(1e3, 1e12), min_size=2),
    st.sampled_from([24, 48, 96]),
)
def test_ideal_times_and_only_they_have_an_efficiency_of_one(times: dict[int, float], length: int) -> None:
    least = min(times)
    points = [
        on_ranks(ranks_case("vanilla", length, ranks), [times[ranks]] * ranks, 1.0, 0.0) for ranks in sorted(times)
    ]
    (curve,) = curves(*points, way="strong")
    for at in curve.points:
        assert at.speedup is not None
        assert at.efficiency * at.ranks / least == pytest.approx(at.speedup)
        assert at.efficiency * at.point.latency.median_ns * at.ranks == pytest.approx(times[least] * least)


@pytest.mark.parametrize(
    ("threads", "host", "device", "cores", "shared"),
    [
        (1, "a", "cpu", 4, 4),
        (2, "a", "cpu", 4, 8),
        (1, "a", "cpu", 7, 4),  # one rank would have 7 threads
        (1, "a", "cpu", 8, None),
        (1, "a", "cuda", 2, None),
        (1, "a", "cpu", None, None),
    ],
)
def test_ranks_that_take_all_cores_are_told(
    threads: int, host: str, device: str, cores: int | None, shared: int | None
) -> None:
    point = on_ranks(ranks_case(ranks=4, device=device), [1e6] * 4, 1e5, 1e4, threads=threads, host=host)
    found = shared_cores(make_run([point], environment=ENVIRONMENT | {"cores": cores}))
    assert (found.threads if found else None) == shared
