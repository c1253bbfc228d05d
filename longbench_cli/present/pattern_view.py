"""``longbench pattern``: what a pattern comes to, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from longbench_cli.analyse.pattern_facts import Coverage, Direction, PatternFacts, Reachability
from longbench_cli.present.series import format_options
from longbench_cli.present.units import count, format_significant
from longbench_cli.sweep.axes import format_length
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.units import format_flops

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

SINGLE_HOPS = 16
"""Hops that have a row each; those beyond share one with twice as many as the row before."""

_ELSEWHERE = {"coverage", "mixing_gradient"}
"""Not said in the line of options: it has a table of its own; it changes nothing about who sees whom."""


@dataclass(frozen=True, slots=True)
class PatternView:
    """One case and what its pattern comes to; ``details`` is what its options are at this length."""

    case: Case
    details: dict[str, Any]
    facts: PatternFacts

    def as_json(self, picture: str | None) -> dict[str, Any]:
        """Plain values; ``picture`` is the file it was drawn to."""
        case, facts = self.case, self.facts
        return {
            "impl": case.impl,
            "seq_len": case.seq_len,
            "heads": case.heads,
            "kv_heads": case.kv_heads,
            "head_dim": case.head_dim,
            "causal": case.causal,
            "options": case.options,
            "details": self.details,
            "pairs": facts.pairs,
            "dense_pairs": facts.dense_pairs,
            "density": facts.density,
            "flops": {name: asdict(flops) for name, flops in facts.flops.items()},
            "coverage": None if facts.coverage is None else asdict(facts.coverage),
            "reachability": asdict(facts.reachability),
            "picture": picture,
        }

    def as_renderables(self) -> Iterator[RenderableType]:
        """Lines and tables for rich, from top to bottom."""
        from rich.text import Text

        yield from map(Text, self._head())
        yield Text()
        yield self._costs()
        if self.facts.coverage is not None:
            yield Text()
            yield Text(f"Coverage of phases, by {heads_taken(self.case.heads, self.facts.reachability.head)}")
            yield _branches(self.facts.coverage)
            yield from map(Text, _uncovered(self.facts.coverage))
        yield Text()
        yield from self._reachability()

    def _head(self) -> Iterator[str]:
        case = self.case
        yield (
            f"{case.impl}, N {format_length(case.seq_len)}, {count(case.heads, 'head')}, "
            f"{count(case.kv_heads, 'key head')}, head dim {case.head_dim}, "
            f"{'causal' if case.causal else 'not causal'}"
        )
        yield from subtitle(case, self.details)

    def _costs(self) -> Table:
        facts = self.facts
        of = "N (N + 1) / 2" if self.case.causal else "N²"
        table = _table(("", "actual", "dense-equivalent", "share"))
        table.add_row(
            "pairs", f"{facts.pairs:,}", f"{facts.dense_pairs:,}", f"{_percent(facts.density)} of {of} a head"
        )
        for name, flops in facts.flops.items():
            table.add_row(f"FLOPs {name}", format_flops(flops.actual), format_flops(flops.dense), "")
        return table

    def _reachability(self) -> Iterator[RenderableType]:
        from rich.text import Text

        found = self.facts.reachability
        yield Text(f"Reachability from token {found.start}, by {heads_taken(self.case.heads, found.head)}")
        table = _table(("hops", "directed", "undirected"))
        for hops, *numbers in _histogram(found):
            table.add_row(hops, *(f"{number:,}" for number in numbers))
        for name, cells in (
            ("longest path", [str(one.longest) for one in (found.directed, found.undirected)]),
            ("reached", [_share(one, one.reached) for one in (found.directed, found.undirected)]),
            (f"within {found.depth}", [_share(one, one.within_depth) for one in (found.directed, found.undirected)]),
        ):
            table.add_row(name, *cells)
        yield table
        yield from map(Text, _bound(found, self.case.seq_len))
        yield from map(Text, sentences(found, causal=self.case.causal))
        for name, direction in (("directed", found.directed), ("undirected", found.undirected)):
            if direction.hops is not None:
                hops = " ".join("-" if hop is None else str(hop) for hop in direction.hops)
                yield Text(f"hops by token, {name}: {hops}")


def subtitle(case: Case, details: dict[str, Any]) -> list[str]:
    """The options of ``case`` and what they come to, in one line; none if it has none."""
    known = {**case.options, **details}
    line = format_options({name: value for name, value in known.items() if name not in _ELSEWHERE})
    return [line] if line else []


def heads_taken(heads: int, head: int | None) -> str:
    """``head 2 of 8``, or ``the union of 8 heads``."""
    if head is not None:
        return f"head {head} of {heads}"
    return f"the union of {heads} heads" if heads > 1 else "one head"


def sentences(found: Reachability, *, causal: bool) -> Iterator[str]:
    """What the two searches say, in words."""
    directed, undirected = found.directed, found.undirected
    if causal:
        yield (
            f"Directed, as information flows in a causal model, token {found.start} reaches {_tokens(directed)} "
            f"of the {directed.possible:,} tokens from it on."
        )
        yield (
            f"Undirected, which is the picture that gets published, it reaches {_tokens(undirected)} of the "
            f"{undirected.possible:,} tokens: its paths may run back in time, which those of a causal model cannot."
        )
    else:
        yield (
            f"Directed, from a key to the queries that see it, token {found.start} reaches {_tokens(directed)} "
            f"of the {directed.possible:,} tokens; undirected, {_tokens(undirected)}."
        )
    if found.enclosed_by is not None and undirected.reached < undirected.possible:
        yield (
            f"No branch crosses the boundaries of the longest segments ({format_length(found.enclosed_by)} tokens): "
            "what is in different ones never meets."
        )


def format_runs(numbers: Sequence[int]) -> str:
    """``0–2, 5`` for 0, 1, 2, 5 (ascending)."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in runs)


def _tokens(direction: Direction) -> str:
    """``only {5, 6, 7}, 3``: the tokens where they are few and not all, and how many."""
    if direction.reached == direction.possible:
        return "all"
    if direction.tokens is None:
        return f"{direction.reached:,}"
    return f"only {{{', '.join(map(str, direction.tokens))}}}, {direction.reached}"


def _table(columns: Sequence[str]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, title in enumerate(columns):
        table.add_column(title, justify="right" if index else "left", no_wrap=True)
    return table


def _branches(coverage: Coverage) -> Table:
    table = _table(("branch", "segment", "dilation", "(token, head) pairs", "tokens", "phases"))
    table.columns[-1].justify = "left"
    for number, branch in enumerate(coverage.branches, 1):
        every = len(branch.phases) == branch.of_phases
        phases = f"all {branch.of_phases}" if every else f"{format_runs(branch.phases) or 'none'} of {branch.of_phases}"
        table.add_row(
            str(number),
            format_length(branch.segment),
            str(branch.dilation),
            _percent(branch.pairs),
            _percent(branch.tokens),
            phases,
        )
    return table


def _uncovered(coverage: Coverage) -> Iterator[str]:
    if len(coverage.branches) > 1:
        yield f"in the first branch alone: {_percent(coverage.first_branch_only)} of the tokens"
    if coverage.no_branch:
        yield f"in no branch, with an output of zero: {_percent(coverage.no_branch)} of the tokens"


def _bound(found: Reachability, seq_len: int) -> Iterator[str]:
    bound = found.bound
    if bound is not None:
        yield (
            f"LongNet's bound on the longest path, an estimate that paths may exceed: "
            f"log_a(N (a - 1) / w0) = {format_significant(bound.hops)} "
            f"with a = {bound.ratio:g}, w0 = {format_length(bound.base)}, N = {format_length(seq_len)}"
        )


def _histogram(found: Reachability) -> Iterator[tuple[str, int, int]]:
    """Hops, and how many tokens are so far away in each direction; far ones in rows of growing width."""
    rows = list(zip_longest(found.directed.histogram, found.undirected.histogram, fillvalue=0))
    first, width = 0, 1
    while first < len(rows):
        last = min(first + width, len(rows)) - 1
        block = rows[first : last + 1]
        name = str(first) if first == last else f"{first}–{last}"
        yield name, sum(one for one, _ in block), sum(other for _, other in block)
        first += width
        width = first if first >= SINGLE_HOPS else 1


def _share(direction: Direction, tokens: int) -> str:
    return f"{tokens:,} ({_percent(tokens / direction.possible)})"


def _percent(share: float) -> str:
    return f"{format_significant(100 * share)}%"
