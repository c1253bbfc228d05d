"""Predictions on machines whose law is known: right, honest about how right, and never of one machine for another."""

from __future__ import annotations

import pytest
from sample_runs import ENVIRONMENT, make_case, make_run, measured
from simulated_ranks import Machine

from attention_impls.api import get_implementation
from longbench_cli.analyse.prediction.families import Family, families_of
from longbench_cli.analyse.prediction.forecast import FamilyModel, roofline
from longbench_cli.analyse.prediction.held_out import hold_out, parse_condition, score
from longbench_cli.analyse.prediction.model import leave_one_out
from longbench_cli.errors import UsageError
from longbench_cli.measure.types import Memory
from longbench_cli.record.schema import MeasuredPoint
from longbench_cli.sweep.hardware import load_hardware
from longbench_cli.sweep.workload import workload

VANILLA = get_implementation("vanilla")
CPU = load_hardware("cpu")
LENGTHS = (4096, 8192, 16384, 32768)
GIB = 1 << 30


def family_of(points: list[MeasuredPoint], **environment: object) -> Family:
    (family,) = families_of([make_run(points, environment=ENVIRONMENT | environment)])
    return family


def model_of(family: Family, room: int = 64 * GIB, per_node: int | None = None) -> FamilyModel:
    return FamilyModel(family, VANILLA, CPU, room, per_node)


def test_a_known_law_is_carried_on() -> None:
    machine = Machine()
    family = family_of([machine.point(n) for n in LENGTHS])
    found = model_of(family).forecast(make_case("vanilla", 1 << 20, options={"parallel": None}))
    truth = machine.compute_seconds(make_case("vanilla", 1 << 20, options={"parallel": None}))
    assert found.seconds is not None
    assert found.seconds.value == pytest.approx(truth, rel=0.01)
    assert found.seconds.low < truth < found.seconds.high
    assert found.basis == "predicted"
    assert "N 32x beyond 32k" in found.notes


def test_nothing_is_learnt_from_ranks_whose_communication_was_not_told_apart() -> None:
    """Their time has the exchange in it: as computing it would be counted twice."""
    machine = Machine()
    alone = [machine.point(n) for n in LENGTHS]
    shared = [machine.point(n, ranks=2).model_copy(update={"communication": None}) for n in LENGTHS]
    case = make_case("vanilla", 1 << 20, options={"parallel": None})
    assert (
        model_of(family_of([*alone, *shared])).forecast(case).seconds
        == model_of(family_of(alone)).forecast(case).seconds
    )


def test_ranks_of_one_cpu_share_it_and_those_of_many_do_not() -> None:
    family = family_of([Machine().point(n) for n in LENGTHS])
    alone = model_of(family).forecast(make_case("vanilla", 1 << 20, options={"parallel": None})).seconds
    case = make_case("vanilla", 1 << 20, world_size=4, options={"parallel": "allgather"})
    together, apart = model_of(family).forecast(case).seconds, model_of(family, per_node=1).forecast(case).seconds
    assert alone is not None
    assert together is not None
    assert apart is not None
    assert together.value > 0.99 * alone.value
    assert apart.value < 0.3 * alone.value


def test_gpus_each_do_their_part() -> None:
    machine = Machine(cores=None, rate=4e14, fixed=3e-5, step=5e-6, byte=3e-12)
    family = family_of([machine.point(n) for n in LENGTHS])
    model = FamilyModel(family, VANILLA, load_hardware("h100"), 80 * GIB, 8)
    one, eight = (
        model.forecast(make_case("vanilla", 1 << 20, world_size=ranks, device="cuda", options={"parallel": algorithm}))
        for ranks, algorithm in ((1, None), (8, "allgather"))
    )
    assert one.seconds is not None
    assert eight.seconds is not None
    assert one.seconds.value / 8 < eight.seconds.value < one.seconds.value / 7
    assert any("network of profile NVIDIA H100" in note for note in eight.notes)
    assert any("overlap not measured" in note for note in eight.notes)


@pytest.mark.parametrize("algorithm", ["allgather", "ring"])
@pytest.mark.parametrize("cores", [2, None])
def test_one_and_two_ranks_predict_four(algorithm: str, cores: int | None) -> None:
    rows = []
    for seed in range(6):
        law = {} if cores else {"rate": 4e14, "fixed": 3e-5, "step": 5e-6, "byte": 3e-12}
        machine = Machine(cores=cores, noise=0.03, overlap=0.3, seed=seed, **law)
        family = family_of([machine.point(n, ranks, algorithm) for n in LENGTHS for ranks in (1, 2, 4)])
        rows += hold_out(family, VANILLA, parse_condition("gpus>2"), CPU.network) or []
    found = score(rows)
    assert found.count == 24
    assert found.median_error < 0.06
    assert found.coverage >= 0.8


def test_ranks_that_outnumber_cores_for_the_first_time_may_be_slower_than_the_law_and_not_faster() -> None:
    rows = []
    for seed in range(6):
        machine = Machine(turns=0.2, noise=0.01, seed=seed)
        family = family_of([machine.point(n, ranks) for n in LENGTHS for ranks in (1, 2, 4)])
        rows += hold_out(family, VANILLA, parse_condition("gpus>2"), CPU.network) or []
    assert score(rows).coverage >= 0.8
    assert all(row.seconds.high / row.seconds.value > 1.3 for row in rows)
    assert all(row.seconds.value / row.seconds.low < 1.2 for row in rows)


def test_once_it_was_measured_it_is_predicted() -> None:
    note = "more ranks than cores, not measured: a third slower is allowed for"
    machine = Machine(turns=0.2)
    case = make_case("vanilla", 1 << 16, world_size=4, options={"parallel": "allgather"})
    few, all_ = (
        model_of(family_of([machine.point(n, ranks) for n in LENGTHS for ranks in counts])).forecast(case)
        for counts in ((1, 2), (1, 2, 4))
    )
    assert few.seconds is not None
    assert all_.seconds is not None
    assert note in few.notes
    assert note not in all_.notes
    assert all_.seconds.value == pytest.approx(machine.compute_seconds(case) + machine.exchange_seconds(case), rel=0.03)
    assert all_.seconds.high / all_.seconds.value < 1.2 < few.seconds.high / few.seconds.value
    apart = FamilyModel(family_of([machine.point(n) for n in LENGTHS]), VANILLA, CPU, GIB, 2).forecast(case)
    assert note not in apart.notes


def test_overlap_that_was_measured_is_counted_on() -> None:
    hidden, open_ = (
        family_of([Machine(overlap=share, byte=2e-8).point(n, ranks) for n in LENGTHS for ranks in (1, 2)])
        for share in (0.9, 0.0)
    )
    case = make_case("vanilla", 1 << 16, world_size=2, options={"parallel": "allgather"})
    with_, without = model_of(hidden).forecast(case).seconds, model_of(open_).forecast(case).seconds
    assert with_ is not None
    assert without is not None
    truth = Machine(byte=2e-8)
    exchange = truth.exchange_seconds(case)
    assert without.value - with_.value == pytest.approx(0.9 * exchange, rel=0.2)
    ring = make_case("vanilla", 1 << 16, world_size=2, options={"parallel": "ring"})
    assert not any("overlap" in note for note in model_of(hidden).forecast(case).notes)
    assert any("overlap not measured" in note for note in model_of(hidden).forecast(ring).notes)


def test_a_network_that_no_record_covers_has_a_factor_of_two_either_way() -> None:
    family = family_of([Machine(rate=1e15, fixed=1e-6).point(n, ranks, "ring") for n in LENGTHS for ranks in (1, 2)])
    ring, gather = (
        make_case("vanilla", LENGTHS[-1], world_size=2, options={"parallel": name}) for name in ("ring", "allgather")
    )
    measured_, other_kind, other_node = (
        model_of(family, per_node=per_node).forecast(case).seconds
        for case, per_node in ((ring, None), (gather, None), (ring, 1))
    )
    assert measured_ is not None
    assert other_kind is not None
    assert other_node is not None
    assert measured_.high / measured_.low < 1.3
    assert other_kind.high / other_kind.low > 3
    assert other_node.high / other_node.low > 3


def test_leave_one_out_is_small_where_the_law_holds_and_not_where_it_does_not() -> None:
    obeying = [Machine(noise=0.01).point(n) for n in LENGTHS]
    broken = [
        point if n != LENGTHS[2] else measured(point.case, 1.5 * point.latency.median_ns, noise=1e-4)
        for n, point in zip(LENGTHS, obeying, strict=True)
    ]
    good, bad = (leave_one_out(family_of(points).points, 2, CPU.network) for points in (obeying, broken))
    assert max(map(abs, good)) < 0.05
    assert max(map(abs, bad)) > 0.25


def test_machines_are_never_mixed_and_algorithms_share_a_kernel() -> None:
    points = [Machine().point(n, ranks, "ring") for n in LENGTHS for ranks in (1, 2)]
    points += [Machine().point(n, 2, "allgather") for n in LENGTHS]
    runs = [
        make_run(points, "one.jsonl"),
        make_run([Machine().point(4096)], "other.jsonl", environment=ENVIRONMENT | {"cpu": "Another CPU"}),
        make_run([Machine().point(8192)], "newer.jsonl", environment=ENVIRONMENT | {"packages": {"torch": "9.9"}}),
        make_run([Machine().point(8192)], "fewer.jsonl", settings={"threads": 1}),
    ]
    families = families_of(runs)
    assert [len(family.points) for family in families] == [12, 1, 1, 1]
    assert len({family.machine.label for family in families}) == 4
    assert [family.runs for family in families][1] == ("other",)


def test_machines_that_differ_in_bytes_of_memory_alone_are_alike() -> None:
    one = make_run([Machine().point(4096)], "one.jsonl")
    other = make_run([Machine().point(8192)], "two.jsonl", environment=ENVIRONMENT | {"memory_bytes": (8 << 30) - 4096})
    (family,) = families_of([one, other])
    assert [point.case.seq_len for point in family.points] == [4096, 8192]
    assert family.machine.memory_bytes == 8 << 30


def test_memory_says_what_fits_and_how() -> None:
    family = family_of([Machine().point(n) for n in LENGTHS])
    small, large = (make_case("vanilla", n, options={"parallel": None}) for n in (1 << 16, 1 << 26))
    model = model_of(family, room=GIB)
    fitting, not_fitting = model.forecast(small), model.forecast(large)
    assert fitting.fits == "resident"
    assert fitting.peak_bytes is not None
    inputs = 3 * (1 << 16) * 8 * 64 * 2
    assert fitting.peak_bytes.value == pytest.approx(2 * inputs + (1 << 20), rel=0.05)  # as sample_runs has it
    assert not_fitting.fits == "no"
    dilated = get_implementation("dilated")
    points = [measured(make_case("dilated", n), 1e3 * n, noise=1e-3) for n in LENGTHS]
    long = make_case("dilated", 1 << 28)
    streamed = FamilyModel(family_of(points), dilated, CPU, 64 * GIB, None).forecast(long)
    assert (streamed.execution, streamed.fits) == ("streamed", "streamed")
    assert streamed.peak_bytes is not None
    assert streamed.peak_bytes.value <= 64 * GIB
    cramped = FamilyModel(family_of(points), dilated, CPU, GIB, None).forecast(long)
    assert (cramped.execution, cramped.fits) == ("resident", "no")
    assert any("rows of branches that span chunks" in note for note in cramped.notes)


def test_what_a_rank_holds_tells_what_its_allocator_adds_whatever_the_length() -> None:
    """Below 40 MiB of tensors a process holds half as much again: at 4k on one rank, and at 16k on eight."""

    def point(seq_len: int, ranks: int) -> MeasuredPoint:
        case = make_case("vanilla", seq_len, world_size=ranks, options={"parallel": "ring" if ranks > 1 else None})
        held = workload(case, VANILLA).peak_bytes
        peak = round(held * (1.5 if held < 40 << 20 else 1.0))
        return measured(case, 1e9, memory=Memory(input_bytes=held, peak_bytes=peak, nvml_peak_bytes=None))

    alone = [point(n, 1) for n in (1024, 2048, 4096, 8192, 16384, 32768)]
    family = family_of([*alone, *(point(n, 8) for n in (4096, 8192, 16384, 32768))])
    rows = hold_out(family, VANILLA, parse_condition("gpus=8"), CPU.network) or []
    errors = [abs(row.memory_error) for row in rows if row.memory_error is not None]
    assert len(errors) == 4
    assert max(errors) < 0.15
    found = score(rows)
    assert found.memory_median_error is not None
    assert found.memory_median_error < 0.1
    assert found.memory_coverage == 1


def test_what_ranks_cannot_share_is_refused_with_the_reason() -> None:
    points = [measured(make_case("sparse", n, options={"pattern": "fixed"}), 1e3 * n, noise=1e-3) for n in LENGTHS]
    model = FamilyModel(family_of(points), get_implementation("sparse"), CPU, GIB, None)
    found = model.forecast(make_case("sparse", 8192, world_size=4, options={"pattern": "fixed"}))
    assert found.seconds is None
    assert found.refused is not None
    assert found.refused.startswith("sparse cannot be shared by 4 ranks")


def test_a_roofline_is_marked_and_slower_links_make_it_slower() -> None:
    h100 = load_hardware("h100")
    case = make_case("vanilla", 1 << 20, world_size=8, device="cuda", options={"parallel": "allgather"})
    found = roofline(case, VANILLA, h100, 8, 2)
    slow = h100.network.model_copy(update={"within": "pcie"})
    slower = roofline(case, VANILLA, h100.model_copy(update={"network": slow}), 8, 2)
    assert found.basis == "roofline"
    assert found.seconds is not None
    assert slower.seconds is not None
    assert found.seconds.low == found.seconds.high == found.seconds.value < slower.seconds.value


def test_what_is_held_out_is_said_plainly() -> None:
    condition = parse_condition("seq > 64k, gpus=1")
    assert condition.holds(make_case("vanilla", 1 << 17))
    assert not condition.holds(make_case("vanilla", 1 << 16))
    assert not condition.holds(make_case("vanilla", 1 << 17, world_size=2, options={"parallel": "ring"}))
    for text in ("seq", "seq>>64k", "tokens>4", "seq>many", ""):
        with pytest.raises(UsageError, match="--hold-out"):
            parse_condition(text)
    family = family_of([Machine().point(n) for n in LENGTHS])
    assert hold_out(family, VANILLA, parse_condition("seq>4k"), CPU.network) is None
    assert hold_out(family, VANILLA, parse_condition("seq>1m"), CPU.network) == []
