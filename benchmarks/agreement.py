"""longbench's medians beside those of others: python -m benchmarks.agreement [--device cpu] [--rounds N].

Beside ``torch.utils.benchmark.Timer`` on a CPU, and ``triton.testing.do_bench`` on CUDA. Both sides time
the same callable on the same inputs and threads, do_bench's flush before each iteration on CUDA, and take
turns, since a machine drifts more from minute to minute than the two may differ.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import torch
import torch.utils.benchmark

from benchmarks.table import Row, print_rows
from longbench_cli.measure.clock import CudaTimer, Timer, now_ns, timer_for
from longbench_cli.measure.inputs import InputSource
from longbench_cli.measure.passes import work_of
from longbench_cli.measure.pick import pick_backend
from longbench_cli.measure.point import configure_threads
from longbench_cli.measure.sampling import Trial, sample, warm_up
from longbench_cli.measure.subject import bind
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.settings import Settings

GOALS = {"cpu": 0.02, "cuda": 0.01}
"""Largest difference of the medians, as a share."""

PEERS = {"cpu": "torch.utils.benchmark", "cuda": "triton.testing.do_bench"}
WARM_UP_NS = 1_000_000_000

Work = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Kernel:
    """An attention's pass that both sides time: bf16, 64 features, not causal.

    Attributes:
        turn: seconds of a turn of one side; at least one iteration is timed.
        rounds: turns of each side.
    """

    impl: str
    pass_: str
    heads: int
    seq_len: int
    turn: float = 0.1
    rounds: int = 40

    def case(self, device: str) -> Case:
        case = Case(
            impl=self.impl,
            backend="auto",
            pass_=self.pass_,
            seq_len=self.seq_len,
            batch=1,
            heads=self.heads,
            kv_heads=self.heads,
            head_dim=64,
            dtype="bfloat16",
            causal=False,
            world_size=1,
            device=device,
            options={"segments": [512, 2048], "dilations": [1, 4]} if self.impl == "dilated" else {},
        )
        return case.model_copy(update={"backend": pick_backend(case, Settings())})

    @property
    def name(self) -> str:
        return f"{self.impl} {self.pass_}, {self.heads} heads, N = {self.seq_len}"


KERNELS = {
    "cpu": (
        Kernel("vanilla", "fwd", 1, 64),
        Kernel("vanilla", "fwd", 1, 128),
        Kernel("vanilla", "bwd", 1, 128),
        Kernel("vanilla", "fwd", 1, 512),
        Kernel("dilated", "fwd", 2, 2048),
        Kernel("vanilla", "fwd+bwd", 8, 512),
        Kernel("vanilla", "fwd", 8, 1024),
        Kernel("vanilla", "fwd", 8, 2048, 0.25, 20),
        Kernel("vanilla", "fwd", 8, 4096, 0.5, 12),
        Kernel("vanilla", "fwd", 8, 8192, 1.0, 8),
    ),
    "cuda": (
        Kernel("vanilla", "fwd", 8, 1 << 11),
        Kernel("vanilla", "fwd", 8, 1 << 12),
        Kernel("vanilla", "bwd", 8, 1 << 12),
        Kernel("vanilla", "fwd", 8, 1 << 13),
        Kernel("vanilla", "fwd", 8, 1 << 14),
        Kernel("vanilla", "fwd", 8, 1 << 15, rounds=20),
        Kernel("vanilla", "fwd", 8, 1 << 16, 0.2, 20),
        Kernel("vanilla", "fwd", 8, 1 << 17, 0.4, 8),
        Kernel("vanilla", "fwd", 8, 1 << 18, 1.0, 4),
        Kernel("vanilla", "fwd", 8, 1 << 19, 2.0, 3),
    ),
}
"""From 20 us to 1 s on 2 cores of a 2025 server CPU, and on a data-centre GPU of 2023."""


class Longbench:
    """The product's own loop and timer; on CUDA with do_bench's flush and without graphs, which it knows nothing of."""

    def __init__(self, device: str, turn: float) -> None:
        self._settings = Settings(max_time=turn, precision=1e-9, min_iterations=1, max_iterations=10**6)
        self._timer: Timer = CudaTimer("off", _triton_flush()) if device == "cuda" else timer_for(device, Settings())

    def warm_up(self, work: Work) -> None:
        warm_up(Trial(self._timer.bind(work)), now_ns, WARM_UP_NS)

    def median_ns(self, work: Work) -> float:
        """A turn ends by its time: no precision is ever enough."""
        trial = Trial(self._timer.bind(work))
        return sample(itertools.repeat(trial), self._settings, now_ns).latency.median_ns


def _triton_flush() -> Callable[[], None]:
    from triton.runtime import driver

    cache = driver.active.get_empty_cache_for_benchmark()
    return lambda: driver.active.clear_cache(cache)


def torch_median_ns(work: Work, turn: float) -> float:
    """Of Timer's blocks, each the mean of as many iterations as it takes to make its clock's overhead small."""
    timer = torch.utils.benchmark.Timer("work()", globals={"work": work}, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=turn).median * 1e9


def triton_median_ns(work: Work, turn: float) -> float:
    from triton.testing import do_bench

    milliseconds: float = do_bench(work, rep=round(turn * 1e3), return_mode="median")
    return milliseconds * 1e6


def compare(kernel: Kernel, device: str, rounds: int) -> list[tuple[float, float]]:
    """Medians of a turn of longbench and of the peer, on inputs drawn anew each round; who begins alternates."""
    case = kernel.case(device)
    attention, source = bind(case, case.backend), InputSource(case, Settings().seed)
    ours, peer = Longbench(device, kernel.turn), triton_median_ns if device == "cuda" else torch_median_ns
    ours.warm_up(work_of(case, attention, source.draw().inputs()))
    medians = []
    for turn in range(rounds):
        work = work_of(case, attention, source.draw().inputs())
        if turn % 2 == 0:
            mine, theirs = ours.median_ns(work), peer(work, kernel.turn)
        else:
            theirs, mine = peer(work, kernel.turn), ours.median_ns(work)
        medians.append((mine, theirs))
    return medians


def rows(device: str, rounds: int | None = None, kernels: Sequence[Kernel] | None = None) -> Iterator[Row]:
    """A row a kernel: the ratio of the two medians, itself the median over the rounds."""
    configure_threads(Settings(), psutil.cpu_count(logical=False))
    goal = GOALS[device]
    for kernel in KERNELS[device] if kernels is None else kernels:
        medians = compare(kernel, device, rounds or kernel.rounds)
        ratios = [mine / theirs for mine, theirs in medians]
        ratio = statistics.median(ratios)
        low, _, high = statistics.quantiles(ratios, n=4)
        mine, theirs = (statistics.median(side) / 1e6 for side in zip(*medians, strict=True))
        yield Row(
            f"longbench / {PEERS[device]}, {kernel.name}",
            f"{ratio:.3f}",
            f"1 +- {goal}",
            abs(ratio - 1) <= goal,
            f"{mine:.4g} and {theirs:.4g} ms; quartiles of {len(ratios)} rounds {low:.3f}-{high:.3f}",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, help="turns of each side, at least 2 (default: 40, and fewer if long)")
    parser.add_argument("--kernel", type=int, action="append", choices=range(10), help="all if not given")
    args = parser.parse_args()
    if args.device not in KERNELS:
        parser.error(f"--device {args.device}: choose {' or '.join(KERNELS)}")
    if args.rounds is not None and args.rounds < 2:
        parser.error(f"--rounds {args.rounds}: at least 2")
    kernels = [KERNELS[args.device][i] for i in args.kernel] if args.kernel else None
    print_rows(rows(args.device, args.rounds, kernels))


if __name__ == "__main__":
    main()
