"""Dilated attention against the dense limit: python -m benchmarks.efficiency [--device cpu] [--rounds N].

The dense limit is the same back end's time for dense attention on the same number of pairs, shaped as
the branches. Efficiency = dense limit / dilated; the two take turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from attention_impls import dilated_attention, vanilla_attention
from benchmarks.dilated_cases import CASES, DilatedCase
from benchmarks.table import Row, print_rows
from benchmarks.turns import compare
from longbench_cli.measure.clock import timer_for
from longbench_cli.sweep.settings import Settings

ROUNDS = 8


def dilated_work(case: DilatedCase, device: str, *, backward: bool) -> Callable[[], Any]:
    q, k, v, grad = case.draw(device)
    for x in (q, k, v):
        x.requires_grad_(backward)

    def work() -> Any:
        out = dilated_attention(q, k, v, segments=case.segments, dilations=case.dilations)
        return torch.autograd.grad(out, (q, k, v), grad) if backward else out

    return work


def dense_work(case: DilatedCase, device: str, *, backward: bool) -> Callable[[], Any]:
    branches = case.draw_dense(device)
    for q, k, v, _ in branches:
        for x in (q, k, v):
            x.requires_grad_(backward)

    def work() -> Any:
        for q, k, v, grad in branches:
            out = vanilla_attention(q, k, v)
            if backward:
                torch.autograd.grad(out, (q, k, v), grad)

    return work


def rows(device: str, rounds: int, cases: Sequence[DilatedCase] = CASES) -> Iterator[Row]:
    """Efficiency of every case, forward and forward + backward."""
    timer = timer_for(device, Settings(graphs="off"))
    for case in cases:
        for name, backward, goal in (("fwd", False, case.forward_goal), ("fwd+bwd", True, case.both_goal)):
            with torch.set_grad_enabled(backward):
                found = compare(
                    lambda c=case, b=backward: dense_work(c, device, backward=b),
                    lambda c=case, b=backward: dilated_work(c, device, backward=b),
                    timer,
                    rounds,
                )
            low, high = found.spread
            limit, ours = found.medians_ms
            yield Row(
                f"efficiency, {name}, {case.name}",
                f"{found.ratio:.3f}",
                f">= {goal:.2f}",
                found.ratio >= goal,
                f"quartiles {low:.3f}-{high:.3f}; dense limit {limit:.0f} ms, dilated {ours:.0f} ms",
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"turns of each side (default {ROUNDS})")
    parser.add_argument("--case", type=int, action="append", choices=range(len(CASES)), help="all if not given")
    args = parser.parse_args()
    cases = [CASES[i] for i in args.case] if args.case else CASES
    print_rows(rows(args.device, args.rounds, cases))


if __name__ == "__main__":
    main()
