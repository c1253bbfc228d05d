"""A cold cache: a buffer of exactly the last-level cache's size, overwritten."""

from __future__ import annotations

from collections.abc import Callable

import torch

from longbench_cli.measure.clock.caches import last_level_bytes

Flush = Callable[[], object]
"""Overwrites the cache."""

_WORD = 8


def l2_flush() -> Flush:
    """Overwrites as many bytes as the current GPU's L2 cache has, in stream order.

    Inputs left in L2 by the previous iteration would make small points look faster than they are
    in a model, where other layers run in between.
    """
    size: int = torch.cuda.get_device_properties().L2_cache_size
    return torch.empty(max(size, 1), dtype=torch.int8, device="cuda").zero_


def last_level_flush() -> Flush:
    """Overwrites as many bytes as the last-level caches have that this process can reach, on all threads.

    Every line is read as well as written: a plain fill of this size may go past the cache, by
    non-temporal stores.
    """
    buffer = torch.zeros(-(-last_level_bytes() // _WORD), dtype=torch.int64)
    return lambda: buffer.add_(1)
