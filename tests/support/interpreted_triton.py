"""The Triton kernels without a GPU, in a process of its own: python interpreted_triton.py GIVEN FOUND.

TRITON_INTERPRET=1 has to be there before Triton is imported, and stays for the whole process.
GIVEN holds ``problems`` and ``attentions``: each ((q, k, v), grad_out, options of ``dilated_attention``).
FOUND gets (out, lse, out + new_out) of each problem, (out, lse, dq, dk, dv) of each attention, how often the
kernels were called for those, and what :func:`far_rows` and :func:`nothing` gave.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from attention_impls import dilated_attention
from attention_impls.merging import merge, triton_merge
from attention_impls.merging.pieces import HeadRun, Piece


def attention(inputs: list[Tensor], grad: Tensor, options: dict[str, Any], launches: dict[str, int]) -> list[Tensor]:
    """Forward and backward with the kernels in torch's place."""

    def counted(name: str) -> Any:
        def call(*args: Any) -> None:
            launches[name] = launches.get(name, 0) + 1
            getattr(triton_merge, name)(*args)

        return call

    kernels = SimpleNamespace(merge_piece=counted("merge_piece"), add_piece=counted("add_piece"))
    merge.fused_kernels = lambda device: kernels
    leaves = [x.requires_grad_() for x in inputs]
    out, lse = dilated_attention(*leaves, **options, return_lse=True)
    return [out.detach(), lse, *torch.autograd.grad(out, leaves, grad)]


def far_rows() -> list[float]:
    """Four rows added to themselves, two of them more than 2**31 numbers in; only their pages become real."""
    dilation, members, head_dim = 2**23, 4, 128
    grad = torch.empty(1, (members - 1) * dilation + 1, 1, head_dim, dtype=torch.float16)
    rows = grad[:, ::dilation]
    rows[:] = torch.arange(members).view(1, members, 1, 1)
    piece = Piece(0, 1, grad.shape[1], dilation, members, (HeadRun(0, 1, 0, 0),))
    triton_merge.add_piece(grad, piece, rows)
    return [float(row.float().mean()) for row in rows[0]]


def nothing() -> tuple[Tensor, Tensor]:
    """A row that is in no branch so far, and whose new result has no key either."""
    out, lse = torch.zeros(1, 1, 1, 8), torch.full((1, 1, 1), float("-inf"))
    piece = Piece(0, 1, 1, 1, 1, (HeadRun(0, 1, 0, 0),))
    triton_merge.merge_piece(out, lse, piece, torch.randn(1, 1, 1, 8), lse.clone())
    return out, lse


def main() -> None:
    given = torch.load(sys.argv[1], weights_only=False)
    launches: dict[str, int] = {}
    found = {
        "problems": [problem.by(triton_merge) for problem in given["problems"]],
        "attentions": [attention(*call, launches) for call in given["attentions"]],
        "launches": launches,
        "far": far_rows(),
        "nothing": nothing(),
    }
    torch.save(found, sys.argv[2])


if __name__ == "__main__":
    main()
