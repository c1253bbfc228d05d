"""Back ends by name, and which one to take."""

from __future__ import annotations

from functools import cache

import torch

from attention_impls.api import Unsupported
from attention_impls.kernels.base import Backend
from attention_impls.kernels.flash_attn import FLASH_ATTN
from attention_impls.kernels.math import MATH
from attention_impls.kernels.sdpa_cpu import SDPA_FLASH_CPU
from attention_impls.kernels.sdpa_cuda import SDPA_CUDNN, SDPA_EFFICIENT, SDPA_FLASH

_PREFERENCE: dict[str, tuple[Backend, ...]] = {
    "cpu": (SDPA_FLASH_CPU, MATH),
    "cuda": (*FLASH_ATTN, SDPA_CUDNN, SDPA_FLASH, SDPA_EFFICIENT, MATH),
}


def backends(device: str) -> dict[str, Backend]:
    """Every back end for ``device`` ("cpu" or "cuda") by name, available or not, best first."""
    return {backend.name: backend for backend in _PREFERENCE[device]}


def supported_backends(device: str, dtype: torch.dtype, head_dim: int) -> list[Backend]:
    """The back ends that can take such inputs on this machine, best first."""
    return [b for b in _PREFERENCE[device] if b.why_unsupported(device, dtype, head_dim) is None]


@cache
def get_backend(name: str | None, device: str, dtype: torch.dtype, head_dim: int) -> Backend:
    """The back end called ``name``; for None the first of :func:`supported_backends`.

    Raises:
        Unsupported: it does not exist, or cannot run on this machine or on such inputs.
    """
    if name is None:
        return supported_backends(device, dtype, head_dim)[0]
    found = require_backend(name, device)
    reason = found.why_unsupported(device, dtype, head_dim)
    if reason:
        raise Unsupported(f"back end {name!r} cannot be used on {device} here: {reason}")
    return found


def require_backend(name: str, device: str) -> Backend:
    """The back end called ``name``, whatever inputs it takes.

    Raises:
        Unsupported: it does not exist, not for ``device``, or not on this machine; says what is missing.
    """
    found = backends(device).get(name)
    if found is None:
        others = [d for d in _PREFERENCE if d != device and name in backends(d)]
        where = f"runs on {others[0]} only" if others else f"is unknown: choose {', '.join(backends(device))}"
        raise Unsupported(f"back end {name!r} {where}")
    if reason := found.why_unavailable(device):
        raise Unsupported(f"back end {name!r} cannot be used on {device} here: {reason}")
    return found
