"""Dilated attention against the LongNet authors' algorithm.

    python -m benchmarks.peer --torchscale PATH [--device cpu] [--rounds N]

PATH is a checkout of torchscale (it needs einops and timm as well). Its DilatedAttention runs without its
projections and with its inner attention pointed at the kernel that ours uses, so that only the algorithm
differs. Its heads share phases ("grouped"), and it treats the mixing weights as constants; ours is given
the same offsets, and the table says so where the outputs differ.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from attention_impls import dilated_attention, vanilla_attention
from benchmarks.dilated_cases import CASES, HEAD_DIM, HEADS, DilatedCase
from benchmarks.table import Row, print_rows
from benchmarks.turns import compare
from longbench_cli.measure.clock import timer_for
from longbench_cli.sweep.settings import Settings

GOALS = {"fwd": {1 << 18: 8.0, 1 << 15: 2.0}, "fwd+bwd": {1 << 18: 5.0, 1 << 15: 2.0}}
ROUNDS = 6
AGREES = 0.05
"""Largest difference of outputs that rounding explains, both in bf16. Where a dilation rate does not divide a
segment the peer pads with zeros and attends to them."""


def load_peer(path: str) -> Callable[[DilatedCase], Callable[[Tensor, Tensor, Tensor], Tensor]]:
    """torchscale's algorithm for a case, as a function of q, k and v (batch, seq, heads, head_dim)."""
    sys.path.insert(0, path)
    from torchscale.component import multihead_attention
    from torchscale.component.dilated_attention import DilatedAttention

    def kernel(q: Tensor, k: Tensor, v: Tensor, _dropout: float, _bias: None, _scale: None, causal: bool) -> Any:
        return vanilla_attention(q, k, v, causal=causal, return_lse=True)

    multihead_attention.flash_attn_func = kernel

    def make(case: DilatedCase) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        peer = DilatedAttention.__new__(DilatedAttention)
        torch.nn.Module.__init__(peer)
        peer.args = SimpleNamespace(
            flash_attention=True, segment_length=case.segments, dilated_ratio=list(case.dilations), seq_parallel=False
        )
        peer.num_heads, peer.head_dim, peer.dropout = HEADS, HEAD_DIM, 0.0

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            outs, lses = [], []
            for w, r in case.branches:
                ki, vi = (peer.gathering(x, r, w, is_causal=False, is_kv=True, seq_parall=False) for x in (k, v))
                qi = peer.gathering(q, r, w, is_causal=False, seq_parall=False)
                out, lse = peer.attention_ops(qi, ki, vi, is_causal=False)
                outs.append(out)
                lses.append(lse)
            mixed: Tensor = peer.scattering(outs, lses, q.shape[1], q.shape[0])
            return mixed.view(q.shape)

        return attend

    return make


def work(
    attend: Callable[[Tensor, Tensor, Tensor], Tensor], case: DilatedCase, device: str, *, backward: bool
) -> Callable[[], Any]:
    q, k, v, grad = case.draw(device)
    for x in (q, k, v):
        x.requires_grad_(backward)

    def run() -> Any:
        out = attend(q, k, v)
        return torch.autograd.grad(out, (q, k, v), grad) if backward else out

    return run


def ours(case: DilatedCase) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda q, k, v: dilated_attention(
        q, k, v, segments=case.segments, dilations=case.dilations, offsets="grouped"
    )


def difference(peer: Callable[[Tensor, Tensor, Tensor], Tensor], case: DilatedCase, device: str) -> float:
    """Largest difference of the two outputs on the same inputs."""
    q, k, v, _ = case.draw(device)
    with torch.no_grad():
        return float((peer(q, k, v).float() - ours(case)(q, k, v).float()).abs().max())


def rows(path: str, device: str, rounds: int, cases: Sequence[DilatedCase] = CASES) -> Iterator[Row]:
    """Speed-up of every case, forward and forward + backward."""
    make_peer = load_peer(path)
    for case in cases:
        peer = make_peer(case)
        for name, backward in (("fwd", False), ("fwd+bwd", True)):
            goal = GOALS[name][case.seq_len]
            claim, wanted = f"speed-up over torchscale, {name}, {case.name}", f">= {goal:g}x"
            try:
                apart = difference(peer, case, device)
                with torch.set_grad_enabled(backward):
                    found = compare(
                        lambda p=peer, c=case, b=backward: work(p, c, device, backward=b),
                        lambda c=case, b=backward: work(ours(c), c, device, backward=b),
                        timer_for(device, Settings(graphs="off")),
                        rounds,
                    )
            except (torch.OutOfMemoryError, RuntimeError) as error:  # the CPU allocator raises the latter
                yield Row(claim, "-", wanted, None, f"torchscale: {str(error).splitlines()[0][:80]}")
                continue
            low, high = found.spread
            theirs, mine = found.medians_ms
            detail = f"quartiles {low:.2f}-{high:.2f}; torchscale {theirs:.0f} ms, dilated {mine:.0f} ms"
            if apart > AGREES:
                detail += f"; its output differs by {apart:.2g}: it attends to its zero padding"
            yield Row(claim, f"{found.ratio:.2f}x", wanted, found.ratio >= goal, detail)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torchscale", required=True, metavar="PATH", help="a checkout of torchscale")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"turns of each side (default {ROUNDS})")
    parser.add_argument("--case", type=int, action="append", choices=range(len(CASES)), help="all if not given")
    args = parser.parse_args()
    cases = [CASES[i] for i in args.case] if args.case else CASES
    print_rows(rows(args.torchscale, args.device, args.rounds, cases))


if __name__ == "__main__":
    main()
