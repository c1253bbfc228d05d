"""What ranks exchange arrives, is counted to the byte, and can be left out or repeated alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from worlds import RankFailed, run_ranks

from attention_impls.distributed.comm import Communicator
from attention_impls.distributed.traffic import Count, Traffic

WORLDS = range(1, 9)


def numbers(count: int, rank: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """What ``rank`` brings: no two elements of a job are alike."""
    return (torch.arange(count) + 100 * rank).to(dtype)


def gathered(
    comm: Communicator, sizes: list[int], first: int, dtype: torch.dtype
) -> tuple[torch.Tensor, Traffic] | None:
    ranks = range(first, first + len(sizes))
    if comm.rank not in ranks:
        return None
    pending = comm.all_gather(numbers(sizes[comm.rank - first], comm.rank, dtype), sizes, ranks)
    return pending.wait(), comm.take_counts()


@pytest.mark.parametrize("world_size", WORLDS)
def test_gathered_parts_lie_in_the_order_of_ranks(world_size: int) -> None:
    for sizes in ([3] * world_size, list(range(world_size)), [0] * (world_size - 1) + [2]):
        expected = torch.cat([numbers(size, rank) for rank, size in enumerate(sizes)])
        for rank, (result, counts) in enumerate(run_ranks(world_size, gathered, sizes, 0, torch.float64)):
            assert torch.equal(result, expected)
            own, whole = 8 * sizes[rank], 8 * sum(sizes)
            assert counts == {"all_gather": Count(1, whole, own * (world_size - 1), whole - own)}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int16, torch.bool])
def test_any_type_is_gathered_bit_by_bit(dtype: torch.dtype) -> None:
    for sizes in ([2, 2], [1, 3]):
        expected = torch.cat([numbers(size, rank, dtype) for rank, size in enumerate(sizes)])
        for result, _ in run_ranks(2, gathered, sizes, 0, dtype):
            assert result.dtype == dtype
            assert torch.equal(result, expected)


@pytest.mark.parametrize("sizes", [[2, 2], [1, 4], [2, 2, 2], [1, 0, 5]])
def test_some_ranks_gather_among_themselves(sizes: list[int]) -> None:
    expected = torch.cat([numbers(size, rank) for rank, size in enumerate(sizes, start=2)])
    found = run_ranks(6, gathered, sizes, 2, torch.float64)
    for rank, answer in enumerate(found):
        if 2 <= rank < 2 + len(sizes):
            assert torch.equal(answer[0], expected)
        else:
            assert answer is None


def scattered(comm: Communicator, sizes: list[int]) -> tuple[torch.Tensor, Traffic]:
    terms = numbers(sum(sizes), comm.rank)
    before = terms.clone()
    result = comm.reduce_scatter(terms, sizes, range(comm.world_size)).wait()
    assert torch.equal(terms, before)
    return result, comm.take_counts()


@pytest.mark.parametrize("world_size", WORLDS)
def test_sums_are_scattered(world_size: int) -> None:
    for sizes in ([3] * world_size, list(range(world_size)), [0] * (world_size - 1) + [2]):
        total = sum(numbers(sum(sizes), rank) for rank in range(world_size))
        for rank, (result, counts) in enumerate(run_ranks(world_size, scattered, sizes)):
            assert torch.equal(result, total.split(sizes)[rank])
            own, whole = 8 * sizes[rank], 8 * sum(sizes)
            assert counts == {"reduce_scatter": Count(1, whole, whole - own, own * (world_size - 1))}


def passed_on(comm: Communicator) -> tuple[torch.Tensor, Traffic]:
    n, rank = comm.world_size, comm.rank
    before = (rank - 1) % n
    result = comm.send_recv(numbers(rank + 1, rank, torch.float32), (rank + 1) % n, before + 1, before).wait()
    return result, comm.take_counts()


@pytest.mark.parametrize("world_size", WORLDS[1:])
def test_messages_go_round(world_size: int) -> None:
    for rank, (result, counts) in enumerate(run_ranks(world_size, passed_on)):
        before = (rank - 1) % world_size
        assert torch.equal(result, numbers(before + 1, before, torch.float32))
        assert counts == {"send_recv": Count(1, 4 * (rank + 1), 4 * (rank + 1), 4 * (before + 1))}


def dealt(source: int, to: int) -> int:
    """Elements that one rank sends to another."""
    return (2 * source + to) % 3


def exchanged(comm: Communicator) -> tuple[torch.Tensor, Traffic]:
    sizes = [dealt(comm.rank, to) for to in range(comm.world_size)]
    back = [dealt(source, comm.rank) for source in range(comm.world_size)]
    return comm.all_to_all(numbers(sum(sizes), comm.rank), sizes, back).wait(), comm.take_counts()


@pytest.mark.parametrize("world_size", WORLDS)
def test_each_sends_to_each(world_size: int) -> None:
    ranks = range(world_size)
    sent = {rank: numbers(sum(dealt(rank, to) for to in ranks), rank) for rank in ranks}
    for rank, (result, counts) in enumerate(run_ranks(world_size, exchanged)):
        parts = [sent[source].split([dealt(source, to) for to in ranks])[rank] for source in ranks]
        assert torch.equal(result, torch.cat(parts))
        own, out = 8 * dealt(rank, rank), 8 * len(sent[rank])
        assert counts == {"all_to_all": Count(1, out, out - own, 8 * len(result) - own)}


def summed(comm: Communicator) -> tuple[torch.Tensor, Traffic]:
    return comm.all_reduce(numbers(5, comm.rank)).wait(), comm.take_counts()


@pytest.mark.parametrize("world_size", WORLDS)
def test_all_have_the_sum(world_size: int) -> None:
    total = sum(numbers(5, rank) for rank in range(world_size))
    moved = 2 * 40 * (world_size - 1) // world_size
    for result, counts in run_ranks(world_size, summed):
        assert torch.equal(result, total)
        assert counts == {"all_reduce": Count(1, 40, moved, moved)}


def a_pass(comm: Communicator) -> list[torch.Tensor]:
    """Two collectives begun before either is awaited, even and uneven, and one after them."""
    n, everyone = comm.world_size, range(comm.world_size)
    even = comm.all_gather(numbers(2, comm.rank), [2] * n, everyone)
    uneven = comm.reduce_scatter(numbers(sum(everyone), comm.rank), list(everyone), everyone)
    comm.leave(comm.rank)
    results = [uneven.wait(), even.wait()]
    return [*results, comm.all_reduce(results[1]).wait()]


def three_ways(comm: Communicator) -> tuple[bool, list[Any]]:
    """Whether what is answered is what came, and what was counted: of the pass, without and alone."""
    comm.keep()
    full = a_pass(comm)
    counted: list[Any] = [comm.take_counts()]
    same = True
    if comm.rank == 0:  # alone in this: nothing is exchanged, or it would wait for ever
        for _ in range(2):
            again = comm.without(lambda: a_pass(comm))
            same = same and all(torch.equal(a, b) for a, b in zip(full, again, strict=True))
    counted.append(comm.take_counts())
    before = comm.calls
    comm.alone()
    counted += [comm.take_counts(), comm.calls - before]
    later = a_pass(comm)  # is not kept
    comm.alone()
    counted.append(comm.calls - before)
    return same and all(torch.equal(a, b) for a, b in zip(full, later, strict=True)), counted


@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_a_pass_without_its_collectives_and_its_collectives_alone(world_size: int) -> None:
    for rank, (same, (full, without, alone, calls, all_calls)) in enumerate(run_ranks(world_size, three_ways)):
        assert same
        assert {kind: count.calls for kind, count in full.items()} == {
            "all_gather": 1,
            "reduce_scatter": 1,
            "all_reduce": 1,
        }
        assert (without, alone) == ({}, {})
        assert (calls, all_calls) == (3 + rank, 3 * (3 + rank))


def other_calls(comm: Communicator) -> list[str]:
    comm.keep()
    comm.all_reduce(numbers(1, comm.rank)).wait()

    def another_kind() -> None:
        comm.all_gather(numbers(1, comm.rank), [1] * comm.world_size, range(comm.world_size))

    def one_more() -> None:
        comm.all_reduce(numbers(1, comm.rank)).wait()
        comm.all_reduce(numbers(1, comm.rank)).wait()

    def after_forgetting() -> None:
        comm.forget()
        comm.without(lambda: comm.all_reduce(numbers(1, comm.rank)))

    def awaited_twice() -> None:
        pending = comm.all_reduce(numbers(1, comm.rank))
        pending.wait()
        pending.wait()

    def not_prepared() -> None:
        comm.all_gather(numbers(1, comm.rank), [1, 1], range(0, 4, 2))

    return [
        *(said(lambda run=run: comm.without(run)) for run in (another_kind, one_more)),
        *(said(run) for run in (after_forgetting, awaited_twice, not_prepared)),
    ]


def said(run: Callable[[], object]) -> str:
    try:
        run()
    except RuntimeError as error:
        return str(error)
    return "nothing"


def test_what_cannot_be_answered_is_an_error() -> None:
    for messages in run_ranks(3, other_calls)[:1]:
        assert messages == [
            "the pass that was kept has no such call here: all_gather",
            "the pass that was kept has no such call here: all_reduce",
            "the pass that was kept has no such call here: all_reduce",
            "a collective is awaited once",
            "no group of ranks 0 to 3 was prepared",
        ]


def told(comm: Communicator) -> list[tuple[int, str | None]]:
    heard: list[tuple[int, str | None]] = []
    comm = Communicator(comm.rank, comm.world_size, comm._groups, lambda calls, kind: heard.append((calls, kind)))
    a_pass(comm)
    return heard


def test_whoever_watches_is_told_of_calls_made_and_left() -> None:
    first, last = [(1, "all_gather"), (2, "reduce_scatter")], "all_reduce"
    assert run_ranks(3, told) == [
        [*first, (3, last)],
        [*first, (3, None), (4, last)],  # None: others make it
        [*first, (4, None), (5, last)],
    ]


def fails_on_one(comm: Communicator, how: str) -> None:
    if comm.rank == 1:
        if how == "dies":
            os._exit(1)
        raise ValueError("one rank has had enough")
    comm.all_reduce(numbers(1, comm.rank)).wait()


@pytest.mark.parametrize(("how", "said"), [("raises", r"(?s)rank 1 of 2.*had enough"), ("dies", "no answer of ranks")])
def test_the_harness_tells_of_a_rank_that_fails_and_works_again(how: str, said: str) -> None:
    with pytest.raises(RankFailed, match=said):
        run_ranks(2, fails_on_one, how)
    assert [counts for _, counts in run_ranks(2, summed)] == [{"all_reduce": Count(1, 40, 40, 40)}] * 2
