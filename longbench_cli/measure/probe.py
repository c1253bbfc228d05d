"""The computations that :mod:`longbench_cli.measure.capability` times, on a torch device."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil
import torch
from torch import Tensor

from longbench_cli.measure.capability import SECOND, Clock, DeviceRates, measure_noise, measure_rate

MATMUL_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

_MATMUL_NS = 20_000_000
_SMALLEST, _LARGEST = 256, 16384
_COPY_BYTES = {"cpu": 256 * 2**20, "cuda": 2**30}
_NOISE_SIZE = {"cpu": 256, "cuda": 2048}


def measure_device(device: str, seconds: float, now: Clock = time.perf_counter_ns) -> DeviceRates:
    """Rates and noise of ``device`` ("cpu" or "cuda") in about ``seconds``: half of them for the noise.

    Matrix products are square and grow until one takes 20 ms; the copy reads and writes a buffer far
    larger than a cache, and both directions count.
    """
    budget = round(seconds * SECOND)
    synchronize: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else _nothing
    matmul = {name: _matmul_rate(device, dtype, budget // 6, synchronize, now) for name, dtype in MATMUL_DTYPES.items()}
    copied = _copy_rate(device, budget // 6, synchronize, now)
    noise = measure_noise(_product(_NOISE_SIZE[device], device, torch.float32, synchronize), budget // 2, now)
    return DeviceRates(device=device, matmul_flops=matmul, copy_bytes=copied, noise=noise)


def _nothing() -> None:
    """The processor has finished when a call returns."""


def _product(size: int, device: str, dtype: torch.dtype, synchronize: Callable[[], None]) -> Callable[[], None]:
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(left)

    def work() -> None:
        torch.mm(left, right, out=out)
        synchronize()

    return work


def _matmul_rate(device: str, dtype: torch.dtype, budget_ns: int, synchronize: Callable[[], None], now: Clock) -> float:
    size = _SMALLEST
    while True:
        work = _product(size, device, dtype, synchronize)
        work()
        before = now()
        work()
        if size == _LARGEST or now() - before > _MATMUL_NS:
            return measure_rate(work, 2.0 * size**3, budget_ns, now)
        size *= 2


def _copy_rate(device: str, budget_ns: int, synchronize: Callable[[], None], now: Clock) -> float:
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else psutil.virtual_memory().available
    size = min(_COPY_BYTES[device], free // 8)
    source: Tensor = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)

    def work() -> None:
        target.copy_(source)
        synchronize()

    return measure_rate(work, 2.0 * size, budget_ns, now)
