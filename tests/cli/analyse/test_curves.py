"""Which points share a curve, and what vanilla is compared with."""

from __future__ import annotations

import pytest
from sample_runs import make_case, make_run, measured, unmeasured

from longbench_cli.analyse.curves import curves_of
from longbench_cli.analyse.speedup import over_full_attention


def test_a_curve_is_ordered_by_length_whatever_the_order_of_measuring() -> None:
    run = make_run([measured(make_case(length=length), 1e6) for length in (4096, 1024, 2048)])
    (curve,) = curves_of([run])
    assert curve.medians[0] == [1024, 2048, 4096]


def test_a_resumed_point_counts_once_as_it_came_out_last() -> None:
    case = make_case(length=1024)
    run = make_run([unmeasured(case, "crashed", "signal 9"), measured(case, 1e6)])
    (curve,) = curves_of([run])
    assert [point.status for point in curve.points] == ["ok"]


def test_streamed_and_resident_never_share_a_curve() -> None:
    case = make_case(length=1024)
    longer = make_case(length=2048)
    run = make_run([measured(case, 1e6), measured(longer, 2e6, execution="streamed")])
    assert [curve.execution for curve in curves_of([run])] == ["resident", "streamed"]


def test_points_without_a_back_end_join_the_curve_that_they_continue() -> None:
    run = make_run(
        [
            *(measured(make_case(length=length, backend="flash"), 1e6) for length in (1024, 2048)),
            *(measured(make_case(length=length, backend="cudnn"), 1e6) for length in (4096, 8192)),
            unmeasured(make_case(length=16384, backend="auto"), "pruned", "predicted 70 s"),
        ]
    )
    curves = curves_of([run])
    assert [(curve.case.backend, len(curve.points)) for curve in curves] == [("flash", 2), ("cudnn", 3)]


def test_points_without_a_back_end_stand_alone_where_nothing_was_measured() -> None:
    run = make_run([unmeasured(make_case(length=16384, backend="auto"), "unsupported", "no such dtype")])
    (curve,) = curves_of([run])
    assert not curve.measured


def test_a_constant_number_of_tokens_makes_one_curve() -> None:
    run = make_run([measured(make_case(length=1024 << step, batch=64 >> step), 1e6) for step in range(7)])
    (curve,) = curves_of([run])
    assert curve.workload == "tokens"


def test_several_batches_make_several_curves() -> None:
    run = make_run([measured(make_case(length=1024 << step, batch=b), 1e6) for step in range(4) for b in (1, 4)])
    assert [(curve.workload, curve.case.batch, len(curve.points)) for curve in curves_of([run])] == [
        ("batch", 1, 4),
        ("batch", 4, 4),
    ]


def _dilated_and_vanilla(dilated_ns: float, vanilla_ns: float, **changes: object) -> list[object]:
    return [
        measured(make_case("dilated", 8192), dilated_ns, noise=0, **changes),
        measured(make_case("vanilla", 8192), vanilla_ns * 2, noise=0),
        measured(make_case("vanilla", 8192, backend="math"), vanilla_ns, noise=0),
        measured(make_case("vanilla", 8192, causal=True), 1.0, noise=0),
    ]


def test_speedup_is_over_the_fastest_vanilla_that_did_the_same_job() -> None:
    curves = curves_of([make_run(_dilated_and_vanilla(1e6, 12e6))])
    found = over_full_attention(curves)[0]
    assert found is not None
    assert (found.seq_len, found.ratio) == (8192, pytest.approx(12.0))
    assert found.significant


def test_speedup_uses_the_longest_common_length() -> None:
    points = [measured(make_case("dilated", n), 1e6, noise=0) for n in (1024, 2048, 4096)]
    points += [measured(make_case("vanilla", n), n * 1e4, noise=0) for n in (1024, 2048)]
    curves = curves_of([make_run(points)])
    found = over_full_attention(curves)[0]
    assert found is not None
    assert (found.seq_len, found.ratio) == (2048, pytest.approx(20.48))


def test_speedup_within_the_noise_is_not_significant() -> None:
    points = [measured(make_case("dilated", 1024), 1.00e6, noise=0.05)]
    points += [measured(make_case("vanilla", 1024), 1.02e6, noise=0.05)]
    curves = curves_of([make_run(points)])
    found = over_full_attention(curves)[0]
    assert found is not None
    assert not found.significant


def test_runs_are_never_compared_with_each_other() -> None:
    ours = make_run([measured(make_case("dilated", 1024), 1e6)], "one.jsonl")
    theirs = make_run([measured(make_case("vanilla", 1024), 1e6)], "two.jsonl")
    curves = curves_of([ours, theirs])
    assert over_full_attention(curves)[0] is None


def _model(impl: str, nanoseconds: float, depth: int = 2, **options: object) -> object:
    own = {"depth": depth, "vocab": 256, **options}
    return measured(make_case(impl, 4096, kind="model", causal=True, options=own), nanoseconds, noise=0)


def test_a_model_is_compared_with_the_transformer_of_full_attention_and_of_its_own_size() -> None:
    points = [
        _model("longnet", 1e6, schedule="geometric"),
        _model("transformer", 5e6, attention="vanilla"),
        _model("transformer", 2e6, attention="sparse"),
        _model("transformer", 9e6, depth=4, attention="vanilla"),
        measured(make_case("vanilla", 4096, causal=True), 7e6, noise=0),
    ]
    curves = curves_of([make_run(points)])
    longnet, full, sparse, deeper, attention = over_full_attention(curves)
    assert longnet is not None
    assert (longnet.baseline, longnet.ratio) == ("transformer", pytest.approx(5))
    assert sparse is not None
    assert sparse.ratio == pytest.approx(2.5)
    assert full is None
    assert deeper is None
    assert attention is None


def test_a_depth_that_was_left_out_is_the_one_that_it_came_to() -> None:
    left_out = _model("transformer", 6e6, attention="vanilla").model_copy(update={"details": {"depth": 2}})
    left_out.case.options["depth"] = None
    points = [_model("block-recurrent", 2e6), left_out, _model("hierarchical", 2e6, depth=3)]
    blocks, _, deeper = over_full_attention(curves_of([make_run(points)]))
    assert blocks is not None
    assert blocks.ratio == pytest.approx(3)
    assert deeper is None
