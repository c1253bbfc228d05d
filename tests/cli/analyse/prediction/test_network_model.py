"""Collectives take what the model of their steps and bytes says, and it finds the machine's own from records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_ranks import Machine

from attention_impls.distributed import traffic
from attention_impls.distributed.traffic import Count
from longbench_cli.analyse.prediction.network import Collectives, Cost, collectives_of, group_size
from longbench_cli.analyse.prediction.work import Layout, recorded_work
from longbench_cli.sweep.hardware import Link, Network, load_hardware

NEAR, FAR = Cost(3e-6, 1 / 4e11, measured=False), Cost(1e-5, 1 / 5e10, measured=False)
KINDS = dict.fromkeys(traffic.KINDS, NEAR)
CLUSTER = Collectives(call=8e-6, within=KINDS, between=FAR)


@given(st.integers(2, 512), st.integers(1, 10**9))
def test_sizes_tell_how_many_ranks_a_collective_has(ranks: int, own: int) -> None:
    whole = own * ranks
    counts: dict[traffic.Kind, Count] = {
        "all_gather": traffic.all_gather(own, whole, ranks),
        "reduce_scatter": traffic.reduce_scatter(own, whole, ranks),
        "all_to_all": traffic.all_to_all(whole, whole, own),
        "all_reduce": traffic.all_reduce(whole, ranks),
    }
    for kind, count in counts.items():
        assert group_size(kind, count) == pytest.approx(ranks, rel=2 / own + 1e-9)
        assert group_size(kind, count + count) == pytest.approx(ranks, rel=2 / own + 1e-9)


def test_one_node_by_hand() -> None:
    one = {"all_gather": traffic.all_gather(10**9, 8 * 10**9, 8)}
    assert CLUSTER.seconds(one, Layout(8, 8, None)) == pytest.approx(8e-6 + 7 * 3e-6 + 7e9 / 4e11)
    to_next = {"send_recv": traffic.send_recv(10**9, 10**9)}
    assert CLUSTER.seconds(to_next, Layout(8, 8, None)) == pytest.approx(8e-6 + 3e-6 + 1e9 / 4e11)


def test_the_steps_of_a_kind_that_was_measured_have_its_calls_in_them() -> None:
    within = {**KINDS, "all_gather": Cost(3e-6, 1 / 4e11, measured=True)}
    some = Collectives(call=8e-6, within=within, between=FAR)
    layout = Layout(8, 8, None)
    gathered = {"all_gather": traffic.all_gather(10**9, 8 * 10**9, 8)}
    scattered = {"reduce_scatter": traffic.reduce_scatter(10**9, 8 * 10**9, 8)}
    assert some.seconds(gathered, layout) == pytest.approx(CLUSTER.seconds(gathered, layout) - 8e-6)
    assert some.seconds(scattered, layout) == CLUSTER.seconds(scattered, layout)
    assert some.measured(gathered, layout)
    assert not some.measured({**gathered, **scattered}, layout)


def test_two_nodes_by_hand() -> None:
    layout = Layout(16, 8, None)
    gathered = {"all_gather": traffic.all_gather(10**9, 16 * 10**9, 16)}
    # A node lacks 8 GB, which come through 8 adapters of 50 GB/s; each GPU takes 15 GB from others at 400 GB/s.
    expected = 8e-6 + 14 * 3e-6 + 1 * 1e-5 + max(15e9 / 4e11, 8e9 / (8 * 5e10))
    assert CLUSTER.seconds(gathered, layout) == pytest.approx(expected)
    to_next = {"send_recv": traffic.send_recv(10**9, 10**9)}  # somebody's neighbour is on the other node
    assert CLUSTER.seconds(to_next, layout) == pytest.approx(8e-6 + 1e-5 + 1e9 / 5e10)
    spread = {"all_to_all": traffic.all_to_all(16 * 10**9, 16 * 10**9, 10**9)}  # half of it goes to the other node
    expected = 8e-6 + 7 * 3e-6 + 8 * 1e-5 + 8e9 / 5e10
    assert CLUSTER.seconds(spread, layout) == pytest.approx(expected)
    assert not CLUSTER.measured(gathered, layout)


def test_a_group_within_a_node_does_not_cross() -> None:
    four = {"all_gather": traffic.all_gather(10**9, 4 * 10**9, 4)}
    assert CLUSTER.seconds(four, Layout(64, 8, None)) == CLUSTER.seconds(four, Layout(8, 8, None))


def test_ranks_that_outnumber_the_cores_take_turns() -> None:
    one = {"all_gather": traffic.all_gather(10**6, 4 * 10**6, 4)}
    free = Collectives(call=0.0, within=KINDS, between=FAR)
    assert free.seconds(one, Layout(4, 4, 2)) == pytest.approx(2 * free.seconds(one, Layout(4, 4, 4)))


@pytest.mark.parametrize("algorithm", ["allgather", "ring"])
def test_steps_and_bytes_are_found_in_records(algorithm: str) -> None:
    machine = Machine(step=1.5e-4, byte=2e-9)
    points = [machine.point(n, ranks, algorithm) for n in (4096, 8192, 16384) for ranks in (2, 4)]
    found = collectives_of(points, 2, load_hardware("cpu").network)
    kind = next(iter(recorded_work(points[0], 2).traffic))
    assert found.within[kind].measured
    assert found.within[kind].step == pytest.approx(1.5e-4, rel=1e-3)
    assert found.within[kind].byte == pytest.approx(2e-9, rel=1e-3)
    longer = machine.point(65536, 8, algorithm)
    work = recorded_work(longer, 2)
    assert longer.communication is not None
    predicted = found.seconds(work.traffic, work.layout)
    assert predicted == pytest.approx(longer.communication.communication_ns / 1e9, rel=1e-3)


def test_what_was_never_measured_is_the_profiles() -> None:
    link = Link(source="a test", latency_seconds=1e-6, bandwidth=1e9)
    network = Network(call_seconds=5e-6, within="a", between="b", links={"a": link, "b": link})
    found = collectives_of([Machine().point(4096)], 2, network)
    assert found.call == 5e-6
    assert not any(cost.measured for cost in found.within.values())
    assert found.within["all_reduce"] == Cost(1e-6, 1e-9, measured=False)


@pytest.mark.parametrize("name", ["a100", "h100", "h200", "b200", "cpu"])
def test_profiles_say_where_every_number_of_a_link_is_from(name: str) -> None:
    network = load_hardware(name).network
    assert {network.within, network.between} <= network.links.keys()
    assert all(len(link.source) > 30 for link in network.links.values())
    assert network.links[network.within].bandwidth != network.links[network.between].bandwidth
