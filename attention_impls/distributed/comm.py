"""The one layer through which ranks exchange tensors: every call is counted, and can be left out or repeated alone.

To tell what communication costs, the same pass runs in three ways: with it; without it, every collective
answered at once by what it brought the last time; and the collectives alone, of the same sizes, begun and
awaited in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from attention_impls.distributed import traffic
from attention_impls.distributed.kept import KeptPass
from attention_impls.distributed.traffic import Count, Kind

_all_gather: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter: Any = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
"""Torch 2.13 has new names for both, and warns of the old ones."""


class Pending:
    """A collective that was begun; :meth:`wait` gives what it brings.

    Attributes:
        result: what it brings, not to be read before it was awaited.
        on_wait: called when it is awaited.
    """

    def __init__(self, result: Tensor, works: Iterable[Any] = (), finish: Callable[[], None] | None = None) -> None:
        self.result = result
        self.on_wait: Callable[[], None] | None = None
        self._works: list[Any] | None = list(works)
        self._finish = finish

    def wait(self) -> Tensor:
        """The result, once it is there (on CUDA: once the current stream may use it). To be called once."""
        if self._works is None:
            raise RuntimeError("a collective is awaited once")
        if self.on_wait:
            self.on_wait()
        for work in self._works:
            work.wait()
        if self._finish:
            self._finish()
        self._works = self._finish = None  # they hold what was sent
        return self.result


class Communicator:
    """What one rank exchanges with the others of a sequence.

    The ranks of a collective begin it in the same order among those that they make together. Tensors are
    one-dimensional and contiguous; neither what is given nor what comes may be changed in place. Ranks are
    numbered from 0 within the sequence.

    Attributes:
        rank: of this process.
        world_size: ranks that share the sequence.
        calls: collectives begun since the process began, or left to others: the same for all ranks that have
            got equally far. ``on_call`` is told, and of which kind this rank's own is: it says where a rank that
            hangs is.
    """

    def __init__(
        self,
        rank: int,
        world_size: int,
        groups: Groups,
        on_call: Callable[[int, Kind | None], None] = lambda _calls, _kind: None,
    ) -> None:
        self.rank = rank
        self.world_size = world_size
        self.calls = 0
        self._groups = groups
        self._on_call = on_call
        self._counted: list[tuple[Kind, Count]] = []
        self._keeping = False
        self._kept = KeptPass()
        self._answers: Iterator[tuple[Kind, Tensor]] | None = None

    def prepare(self, groups: Iterable[range]) -> None:
        """Make ready for collectives of these ranks. All ranks of the sequence ask for the same ones, in one order."""
        self._groups.prepare(groups)

    def leave(self, calls: int) -> None:
        """Count ``calls`` that other ranks make without this one."""
        if calls and self._answers is None:
            self._count(calls)
            if self._keeping:
                self._kept.leave(calls)

    def all_gather(self, mine: Tensor, sizes: Sequence[int], ranks: range) -> Pending:
        """The parts of ``ranks``, of ``sizes`` elements each, one after the other; ``mine`` is this rank's.

        Parts of one size go through the library's all-gather; others, which it does not know, directly from
        each rank to each.
        """
        own, whole = mine.nbytes, sum(sizes) * mine.element_size()
        counted = traffic.all_gather(own, whole, len(ranks))

        def begin() -> Pending:
            result = mine.new_empty(sum(sizes))
            if len(set(sizes)) == 1:
                group = self._groups.of(ranks)
                work = _all_gather(_raw(result), _raw(mine), group, async_op=True)
                return Pending(result, [work])
            parts = list(result.split(list(sizes)))
            parts[ranks.index(self.rank)].copy_(mine)
            others = [(rank, part) for rank, part in zip(ranks, parts, strict=True) if rank != self.rank]
            works = self._groups.exchange([(rank, mine) for rank, _ in others], others)
            return Pending(result, works)

        return self._call("all_gather", counted, begin)

    def reduce_scatter(self, terms: Tensor, sizes: Sequence[int], ranks: range) -> Pending:
        """This rank's part of the sum of all ``terms``, which hold parts of ``sizes`` elements for ``ranks``."""
        place = ranks.index(self.rank)
        own, whole = sizes[place] * terms.element_size(), terms.nbytes
        counted = traffic.reduce_scatter(own, whole, len(ranks))

        def begin() -> Pending:
            if len(set(sizes)) == 1:
                result = terms.new_empty(sizes[place])
                group = self._groups.of(ranks)
                return Pending(result, [_reduce_scatter(result, terms, group=group, async_op=True)])
            parts = list(terms.split(list(sizes)))
            result = parts[place].clone()
            come = terms.new_empty(len(ranks), sizes[place])
            others = [(index, rank) for index, rank in enumerate(ranks) if rank != self.rank]
            works = self._groups.exchange(
                [(rank, parts[index]) for index, rank in others], [(rank, come[index]) for index, rank in others]
            )

            def add() -> None:
                for index, _ in others:  # in the order of ranks, so that the sum is the same every time
                    result.add_(come[index])

            return Pending(result, works, add)

        return self._call("reduce_scatter", counted, begin)

    def send_recv(self, sent: Tensor, to: int, size: int, source: int) -> Pending:
        """Send to rank ``to``, and receive ``size`` elements from rank ``source``."""
        counted = traffic.send_recv(sent.nbytes, size * sent.element_size())

        def begin() -> Pending:
            result = sent.new_empty(size)
            return Pending(result, self._groups.exchange([(to, sent)], [(source, result)]))

        return self._call("send_recv", counted, begin)

    def all_to_all(self, sent: Tensor, sizes: Sequence[int], sizes_back: Sequence[int]) -> Pending:
        """``sizes`` elements of ``sent`` go to each rank, in order, and ``sizes_back`` come from each."""
        unit = sent.element_size()
        counted = traffic.all_to_all(sent.nbytes, sum(sizes_back) * unit, sizes[self.rank] * unit)

        def begin() -> Pending:
            result = sent.new_empty(sum(sizes_back))
            group = self._groups.of(range(self.world_size))
            out_bytes, in_bytes = [size * unit for size in sizes_back], [size * unit for size in sizes]
            work = dist.all_to_all_single(_raw(result), _raw(sent), out_bytes, in_bytes, group, async_op=True)
            return Pending(result, [work])

        return self._call("all_to_all", counted, begin)

    def all_reduce(self, terms: Tensor) -> Pending:
        """The sum of all ranks' ``terms``."""
        counted = traffic.all_reduce(terms.nbytes, self.world_size)

        def begin() -> Pending:
            result = terms.clone()
            group = self._groups.of(range(self.world_size))
            return Pending(result, [dist.all_reduce(result, group=group, async_op=True)])

        return self._call("all_reduce", counted, begin)

    def take_counts(self) -> dict[Kind, Count]:
        """What was counted since the last call of this."""
        counted, self._counted = self._counted, []
        return traffic.total(counted)

    def keep(self) -> None:
        """Remember the calls from here to the next :meth:`without` or :meth:`alone`, and nothing older."""
        self.forget()
        self._keeping = True

    def without(self, run: Callable[[], Any]) -> Any:
        """``run``, with every collective answered by what the kept pass brought: its compute alone.

        Raises:
            RuntimeError: it makes other calls than the kept pass.
        """
        self._keeping, self._answers = False, self._kept.answers()
        try:
            return run()
        finally:
            self._answers = None

    def alone(self) -> None:
        """The kept pass's collectives, begun and awaited in its order, and nothing else; they are not counted again."""
        self._keeping = False
        self._kept.again(self._count)

    def forget(self) -> None:
        """Free what :meth:`keep` remembers."""
        self._keeping, self._kept = False, KeptPass()

    def _count(self, calls: int, kind: Kind | None = None) -> None:
        """So many more, the last of ``kind``; of None if others make them."""
        self.calls += calls
        self._on_call(self.calls, kind)

    def _call(self, kind: Kind, counted: Count, begin: Callable[[], Pending]) -> Pending:
        if self._answers is not None:
            kept_kind, brought = next(self._answers, (None, None))
            if brought is None or kept_kind != kind:
                raise RuntimeError(f"the pass that was kept has no such call here: {kind}")
            return Pending(brought)
        self._count(1, kind)
        self._counted.append((kind, counted))
        pending = begin()
        if self._keeping:
            self._kept.add(kind, begin, pending)
        return pending


class Groups(Protocol):
    """Where collectives go: torch's process groups, by the ranks of the sequence."""

    def prepare(self, groups: Iterable[range]) -> None:
        """Make the groups of these ranks that there are not yet."""
        ...

    def of(self, ranks: range) -> dist.ProcessGroup:
        """The group of ``ranks``.

        Raises:
            RuntimeError: it was not prepared.
        """
        ...

    def exchange(self, sent: Sequence[tuple[int, Tensor]], received: Sequence[tuple[int, Tensor]]) -> list[Any]:
        """Begin to send tensors to ranks, and to receive into tensors from ranks, all at once."""
        ...


class TorchGroups:
    """Groups within an initialised torch.distributed job, whose first ranks are the sequence's.

    Every rank of the job makes it, and prepares the same groups in the same order. ``new_group`` with
    ``use_local_synchronization``, which would let a group's members do that alone, names a group by how many a
    rank has made before (torch 2.13): ranks that are in different numbers of groups wait for each other for ever.

    ``timeout`` is how long a collective of a group made here may take. It is not taken over from the job's own
    group: with None it is torch's, 10 minutes for NCCL, whatever the job was given.
    """

    def __init__(self, timeout: timedelta | None = None) -> None:
        self._timeout = timeout
        self._made: dict[range, Any] = {range(dist.get_world_size()): dist.group.WORLD}
        if dist.get_backend() == "nccl":  # whose first call must be all ranks', which an exchange is not
            dist.all_reduce(torch.zeros(1, device="cuda"))

    def prepare(self, groups: Iterable[range]) -> None:
        for ranks in groups:
            if ranks not in self._made:
                self._made[ranks] = dist.new_group(list(ranks), timeout=self._timeout)

    def of(self, ranks: range) -> dist.ProcessGroup:
        if ranks not in self._made:
            raise RuntimeError(f"no group of ranks {ranks.start} to {ranks.stop - 1} was prepared")
        group: dist.ProcessGroup = self._made[ranks]
        return group

    def exchange(self, sent: Sequence[tuple[int, Tensor]], received: Sequence[tuple[int, Tensor]]) -> list[Any]:
        ops = [dist.P2POp(dist.isend, _raw(tensor), rank) for rank, tensor in sent]
        ops += [dist.P2POp(dist.irecv, _raw(tensor), rank) for rank, tensor in received]
        ops = [op for op in ops if op.tensor.numel()]
        return dist.batch_isend_irecv(ops) if ops else []


def _raw(x: Tensor) -> Tensor:
    """The bytes of ``x``: what is only moved need not be of a type that a library knows."""
    return x.view(torch.uint8)
