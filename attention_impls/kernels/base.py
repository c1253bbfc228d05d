"""What every back end looks like: a dense attention kernel with its log-sum-exp and its backward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

MAX_GRID_BATCH = 65535
"""CUDA's limit on the second and third grid dimension, where the kernels put batch and heads."""


class Forward(Protocol):
    """(q, k, v, causal, scale) -> (out, lse).

    q is (batch, seq, heads, head_dim); k and v have as many heads and, if causal, the same length.
    out is like q; lse is (batch, heads, seq), fp32 (fp64 for fp64 inputs). Causal masks are square:
    query t sees keys 0..t. Any strides are taken, the last dimension being contiguous.
    """

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]: ...


class Backward(Protocol):
    """Gradients (dq, dk, dv) of the sum of ``grad_out * out``, given the forward's out and lse.

    Called with the out and lse of a *merged* softmax over more keys than these, it yields exactly
    these keys' share of the merged gradient: p = exp(s - lse) and delta = rowsum(grad_out * out)
    are all a flash backward takes from the forward.
    """

    def __call__(
        self, grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """A kernel and what it can do.

    Attributes:
        name: as in ``--backend`` and in records.
        summary: one line for ``longbench list backends``.
        devices: device types it runs on.
        dtypes: element types it takes.
        fused: False if it materialises the (seq, seq) scores.
        missing: why it cannot run on a device type of this machine, or None.
        shape_limit: why it cannot take a head dim, or None.
    """

    name: str
    summary: str
    devices: frozenset[str]
    dtypes: frozenset[torch.dtype]
    forward: Forward
    backward: Backward
    missing: Callable[[], str | None]
    fused: bool = True
    shape_limit: Callable[[int], str | None] = lambda _head_dim: None

    def why_unavailable(self, device: str) -> str | None:
        """Why this back end cannot run on ``device`` ("cpu" or "cuda") of this machine, or None."""
        if device not in self.devices:
            return f"it runs on {' and '.join(sorted(self.devices))} only"
        if device == "cuda" and not torch.cuda.is_available():
            return "no CUDA device was found"
        return self.missing()

    def why_unsupported(self, device: str, dtype: torch.dtype, head_dim: int) -> str | None:
        """Why it cannot take these inputs here, or None."""
        reason = self.why_unavailable(device)
        if reason is None and dtype not in self.dtypes:
            names = ", ".join(sorted(str(d).removeprefix("torch.") for d in self.dtypes))
            reason = f"it takes {names}, not {str(dtype).removeprefix('torch.')}"
        return reason or self.shape_limit(head_dim)


def present() -> str | None:
    """The ``missing`` of a back end that torch itself carries: nothing is."""
    return None


def in_grid_limits(forward: Forward, backward: Backward) -> tuple[Forward, Backward]:
    """Split batches above :data:`MAX_GRID_BATCH`, which a CUDA launch refuses."""

    def chunked_forward(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
        if q.shape[0] <= MAX_GRID_BATCH:
            return forward(q, k, v, causal, scale)
        chunks = zip(*(x.split(MAX_GRID_BATCH) for x in (q, k, v)), strict=True)
        parts = [forward(q_, k_, v_, causal, scale) for q_, k_, v_ in chunks]
        return torch.cat([out for out, _ in parts]), torch.cat([lse for _, lse in parts])

    def chunked_backward(
        grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        if q.shape[0] <= MAX_GRID_BATCH:
            return backward(grad_out, q, k, v, out, lse, causal, scale)
        chunks = zip(*(x.split(MAX_GRID_BATCH) for x in (grad_out, q, k, v, out, lse)), strict=True)
        parts = [backward(g, q_, k_, v_, o, l_, causal, scale) for g, q_, k_, v_, o, l_ in chunks]
        dq, dk, dv = (torch.cat(grads) for grads in zip(*parts, strict=True))
        return dq, dk, dv

    return chunked_forward, chunked_backward
