"""Memory layouts that the CUDA kernels can load."""

from __future__ import annotations

import torch
from torch import Tensor

from attention_impls.kernels.base import Backward, Forward

LOAD_BYTES = 16
"""The kernels load this much at a time and do not check that it starts at such a boundary."""


def is_loadable(x: Tensor) -> bool:
    """Whether features are contiguous, every row starts on a boundary, and no dimension is expanded."""
    strides = [stride for size, stride in zip(x.shape[:-1], x.stride()[:-1], strict=True) if size > 1]
    aligned = all(place * x.element_size() % LOAD_BYTES == 0 for place in (x.storage_offset(), *strides))
    return x.stride(-1) == 1 and min(strides, default=1) > 0 and aligned


def loadable(x: Tensor) -> Tensor:
    """x itself, or a packed copy of what a kernel could not load."""
    return x if is_loadable(x) else x.clone(memory_format=torch.contiguous_format)


def on_loadable(forward: Forward, backward: Backward) -> tuple[Forward, Backward]:
    """Give the kernels :func:`loadable` tensors only."""

    def loadable_forward(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
        return forward(loadable(q), loadable(k), loadable(v), causal, scale)

    def loadable_backward(
        grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        grad_out, q, k, v, out = (loadable(x) for x in (grad_out, q, k, v, out))
        return backward(grad_out, q, k, v, out, lse, causal, scale)

    return loadable_forward, loadable_backward
