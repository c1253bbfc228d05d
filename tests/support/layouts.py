"""One tensor in the memory layouts that callers have."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def _fused(x: Tensor) -> Tensor:
    return torch.stack([x, x + 1, x + 2], 2)[:, :, 0]


def _heads_outside(x: Tensor) -> Tensor:
    return x.transpose(1, 2).contiguous().transpose(1, 2)


def _every_other_token(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, 1)[:, ::2]


def _off_the_boundary(x: Tensor) -> Tensor:
    flat = torch.empty(x.numel() + 1, dtype=x.dtype, device=x.device)
    flat[1:] = x.flatten()
    return flat[1:].view(x.shape)


def _features_outside(x: Tensor) -> Tensor:
    return x.transpose(2, 3).contiguous().transpose(2, 3)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x.contiguous(),
    "one of a fused qkv": _fused,
    "heads outside tokens": _heads_outside,
    "every other token": _every_other_token,
    "off the 16-byte boundary": _off_the_boundary,
    "features not contiguous": _features_outside,
}
"""Name to a function that gives a (batch, seq, heads, d) tensor of the same values in that layout."""
