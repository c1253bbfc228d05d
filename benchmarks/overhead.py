"""What dilated attention costs beside its kernel: memory, and host time of a small call.

python -m benchmarks.overhead [--device cpu] [--calls N]
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator

import torch
from torch.profiler import ProfilerActivity, profile

from attention_impls import dilated_attention
from attention_impls.kernels.registry import get_backend
from benchmarks.dilated_cases import CASES, DTYPE, HEAD_DIM, HEADS, DilatedCase
from benchmarks.table import Row, print_rows

SMALL_N = 2048
HOST_GOAL_US = 50
CALLS = 2000
MEMORY_GOAL = 1.5


def rows(device: str, calls: int = CALLS) -> Iterator[Row]:
    """Host time of a small call, then the forward's memory in every case."""
    found = host_time_us(device, calls)
    yield Row(
        f"host time over the bare kernel's, N = {SMALL_N}, 1 branch",
        f"{found:.1f} us",
        f"<= {HOST_GOAL_US} us",
        found <= HOST_GOAL_US,
        f"median of {calls} calls",
    )
    for case in CASES:
        claim, wanted = f"forward's peak beyond inputs, {case.name}", f"<= {MEMORY_GOAL}"
        share = extra_memory(case, device)
        yield Row(claim, f"{share:.2f}", wanted, share <= MEMORY_GOAL, "in multiples of the output")


def extra_memory(case: DilatedCase, device: str) -> float:
    """Peak memory of the forward beyond its inputs, in multiples of the output: what torch's allocators gave out."""
    q, k, v, _ = case.draw(device)

    def forward() -> torch.Tensor:
        return dilated_attention(q, k, v, segments=case.segments, dilations=case.dilations)

    with torch.no_grad():
        if device == "cuda":
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            forward()
            return (torch.cuda.max_memory_allocated() - before) / q.nbytes
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as traced:
            forward()
    events = traced.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return max(itertools.accumulate(size for _, size in changes)) / q.nbytes


def host_time_us(device: str, calls: int) -> float:
    """Median host time of a call with one branch over the bare kernel's, the two in turns of one call.

    The kernel runs on a single token (CPU) or asynchronously (CUDA), so that the host's part is what is left.
    """
    n = SMALL_N if device == "cuda" else 1
    q, k, v = (torch.randn(1, n, HEADS, HEAD_DIM, dtype=DTYPE, device=device) for _ in range(3))
    kernel = get_backend(None, device, DTYPE, HEAD_DIM)
    extra = []
    with torch.no_grad():
        for _ in range(calls):
            begin = time.perf_counter_ns()
            dilated_attention(q, k, v, segments=[SMALL_N], dilations=[1])
            middle = time.perf_counter_ns()
            kernel.forward(q, k, v, False, HEAD_DIM**-0.5)
            extra.append((middle - begin) - (time.perf_counter_ns() - middle))
            if device == "cuda":
                torch.cuda.synchronize()
    return statistics.median(extra[calls // 10 :]) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--calls", type=int, default=CALLS, help=f"calls timed for the host time (default {CALLS})")
    args = parser.parse_args()
    print_rows(rows(args.device, args.calls))


if __name__ == "__main__":
    main()
