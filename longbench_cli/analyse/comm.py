"""What the ranks of a case receive from each other, by the arithmetic of its algorithm; no clock, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from attention_impls.api import Implementation
from attention_impls.distributed.traffic import Traffic
from longbench_cli.analyse.comm_counted import Comparison, CountedPoint, compare
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.parallel import received_bytes, refusal, traffic_of


@dataclass(frozen=True, slots=True)
class BranchRows:
    """One branch of dilated attention.

    Attributes:
        kept: rows of a whole segment and head that the branch keeps, w / r.
        rows: rows that the rank which gathers most gets from other ranks in a forward, the mean of its heads; 0
            where no segment crosses a boundary between ranks.
    """

    segment: int
    dilation: int
    kept: float
    rows: float


@dataclass(frozen=True, slots=True)
class Exchanged:
    """One iteration of a case; bytes are received from other ranks.

    Attributes:
        most: bytes of the rank that receives most.
        mean: bytes of a rank, the mean over ranks.
        total: bytes of all ranks together.
        calls: collectives of the rank that takes part in most.
        branches: of dilated attention, in the order of its schedule; of others none.
        counted: what run files have of this case, each compared with what is computed.
    """

    case: Case
    most: int
    mean: float
    total: int
    calls: int
    branches: tuple[BranchRows, ...]
    counted: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """A case that its ranks cannot share, and why."""

    case: Case
    reason: str


@dataclass(frozen=True)
class Exchanges:
    """The points of one variant: cases that differ in length and ranks alone, in the order of those.

    Attributes:
        weak: whether the tokens (of a model, the batch) of a rank stay the same as ranks are added.
    """

    points: tuple[Exchanged | Refused, ...]
    weak: bool

    @property
    def case(self) -> Case:
        """A case of the variant."""
        return self.points[0].case

    @cached_property
    def exchanged(self) -> tuple[Exchanged, ...]:
        """The points that can be."""
        return tuple(point for point in self.points if isinstance(point, Exchanged))

    def held(self, case: Case) -> int:
        """The length that stays the same along a line against the number of ranks: N, or the tokens of a rank."""
        return case.seq_len // case.world_size if self.holds_share else case.seq_len

    @property
    def holds_share(self) -> bool:
        """Whether :meth:`held` is the tokens of a rank: under weak scaling, unless it is a batch that grows."""
        return self.weak and self.case.kind == "op"


def exchange_of(case: Case, impl: Implementation, counted: Sequence[CountedPoint] = ()) -> Exchanged | Refused:
    """What one iteration of ``case`` exchanges; raises whatever the implementation's own functions raise."""
    reason = refusal(case, impl)
    if reason is not None:
        return Refused(case, reason)
    ranks = traffic_of(case, impl)
    total = received_bytes(ranks)
    return Exchanged(
        case=case,
        most=_most(ranks),
        mean=total / case.world_size,
        total=total,
        calls=max(sum(count.calls for count in one.values()) for one in ranks),
        branches=_branches(case, impl),
        counted=tuple(compare(ranks, point) for point in counted),
    )


def grouped(points: Sequence[Exchanged | Refused], *, weak: bool) -> list[Exchanges]:
    """The points of each variant, in the order in which variants first appear."""
    groups: dict[str, list[Exchanged | Refused]] = {}
    for point in points:
        groups.setdefault(_variant(point.case, weak=weak), []).append(point)
    return [
        Exchanges(tuple(sorted(group, key=lambda point: (point.case.seq_len, point.case.world_size))), weak)
        for group in groups.values()
    ]


def _variant(case: Case, *, weak: bool) -> str:
    batch = case.batch // case.world_size if weak and case.kind == "model" else case.batch
    return case.model_copy(update={"seq_len": 1, "world_size": 1, "batch": batch}).key


def _branches(case: Case, impl: Implementation) -> tuple[BranchRows, ...]:
    """The traffic of a schedule that has this branch alone tells the rows that it gathers."""
    if impl.parallel is None or "segments" not in impl.defaults:
        return ()
    details = impl.details(case.shape, case.options)
    found: dict[tuple[int, int], BranchRows] = {}
    row = 2 * case.head_dim * case.element_bytes * case.batch * case.heads  # a key and a value of every head
    branches = list(zip(details["segments"], details["dilations"], strict=True))
    for w, r in branches:
        alone = {**case.options, "schedule": None, "segments": [w], "dilations": [r]}
        most = _most(impl.parallel.traffic(case.shape, alone, "fwd", case.element_bytes))
        found[w, r] = BranchRows(w, r, min(w, case.seq_len) / r, most / row)
    return tuple(found[branch] for branch in branches)


def _most(ranks: Sequence[Traffic]) -> int:
    return max(sum(count.received for count in one.values()) for one in ranks)
