"""The steps around the kernel on a CPU, each beside the way not taken: python -m benchmarks.steps.

On the rows of branch (4096, 2) at N = 32k, and of segments of 2048 for the layouts.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import psutil
import torch

from attention_impls.dilated.branches import branch_pieces
from attention_impls.kernels.sdpa_cpu import SDPA_FLASH_CPU as KERNEL
from attention_impls.merging.merge import add_piece, merge_piece
from attention_impls.merging.pieces import Gatherer, token_view
from benchmarks.dilated_cases import DTYPE, HEAD_DIM, HEADS
from longbench_cli.measure.clock import CpuTimer

N = 1 << 15
SCALE = HEAD_DIM**-0.5
REPEATS = 7


def show(step: str, work: Callable[[], object]) -> None:
    """Median milliseconds of ``work``, after one untimed call."""
    work()
    run = CpuTimer().bind(work)
    taken = [run() for _ in range(REPEATS)]
    print(f"{step:<66} {statistics.median(taken) / 1e6:9.2f} ms", flush=True)


def layouts() -> None:
    """The kernel on strided rows of a head, and on rows held together."""
    tensors = [torch.randn(N // 2048, 2048, HEADS, HEAD_DIM, dtype=DTYPE) for _ in range(4)]
    packed = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in tensors]
    for name, (q, k, v, grad) in (("rows of a head 1 KiB apart", tensors), ("rows of a head together", packed)):
        out, lse = KERNEL.forward(q, k, v, False, SCALE)
        show(f"kernel, forward, {name}", lambda a=(q, k, v): KERNEL.forward(*a, False, SCALE))
        given = (grad, q, k, v, out, lse)
        show(f"kernel, backward, {name}", lambda a=given: KERNEL.backward(*a, False, SCALE))
    rows = torch.empty_like(packed[0].transpose(1, 2))
    show("bringing one tensor's rows together", lambda: rows.copy_(tensors[0].transpose(1, 2)))


def rows_of_a_branch() -> None:
    """Gathering, mixing and adding a branch's rows."""
    (piece,) = branch_pieces(N, 4096, 2, HEADS, "paper")
    whole = torch.randn(1, N, HEADS, HEAD_DIM, dtype=DTYPE)
    lse = torch.zeros(1, HEADS, N)
    part = torch.randn(piece.segments, piece.members, HEADS, HEAD_DIM, dtype=DTYPE)
    part_lse = torch.zeros(piece.segments, HEADS, piece.members)
    gather = Gatherer()
    views = [token_view(whole, piece, run) for run in piece.runs]
    parts = part.unflatten(0, (1, piece.segments)).split([run.count for run in piece.runs], 3)

    def all_heads_of_a_run() -> None:
        for rows, more in zip(views, parts, strict=True):
            rows.add_(more)

    def gather_add_scatter() -> None:
        for rows, more in zip(views, parts, strict=True):
            rows.copy_(rows.contiguous().add_(more))

    show("gather one tensor", lambda: gather.tokens("q", whole, piece))
    show("mix", lambda: merge_piece(whole, lse, piece, part, part_lse))
    show("add", lambda: add_piece(whole, piece, part))
    show("add, all heads of a run at once (not taken)", all_heads_of_a_run)
    show("add, by gathering and scattering (not taken)", gather_add_scatter)
    show("convert the rows to fp32, for mixing in fp32 (not taken)", part.float)


def main() -> None:
    torch.set_num_threads(psutil.cpu_count(logical=False) or 1)
    layouts()
    rows_of_a_branch()


if __name__ == "__main__":
    main()
