"""torch's own CUDA kernels: flash (version 2), cuDNN and memory-efficient attention."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from attention_impls.kernels.base import Backend, in_grid_limits, present
from attention_impls.kernels.layout import on_loadable
from attention_impls.kernels.math import MATH

_aten = torch.ops.aten
_HALF = frozenset({torch.float16, torch.bfloat16})
_AMPERE = (8, 0)


def _heads_first(*tensors: Tensor) -> list[Tensor]:
    return [x.transpose(1, 2) for x in tensors]


def _fp32_contiguous(lse: Tensor) -> Tensor:
    # The CUDA backward kernels read lse as a packed fp32 array, whatever its strides say.
    return lse.float().contiguous()


def _unused(device: torch.device) -> Tensor:
    """Stands in for the random state of dropout, which is off."""
    return torch.zeros((), dtype=torch.int64, device=device)


def _back(*tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dq, dk, dv = (x.transpose(1, 2) for x in tensors)
    return dq, dk, dv


def _flash_forward(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    out, lse, *_ = _aten._scaled_dot_product_flash_attention(*_heads_first(q, k, v), 0.0, causal, False, scale=scale)
    return out.transpose(1, 2), lse


def _flash_backward(
    grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    state = torch.zeros(2, dtype=torch.uint64, device=q.device)
    grads = _aten._scaled_dot_product_flash_attention_backward(
        *_heads_first(grad_out, q, k, v, out),
        _fp32_contiguous(lse),
        None,
        None,
        q.shape[1],
        k.shape[1],
        0.0,
        causal,
        state,
        _unused(q.device),
        scale=scale,
    )
    return _back(*grads)


def _with_strides(x: Tensor, strides: tuple[int, ...]) -> Tensor:
    if x.stride() == strides:
        return x
    return torch.empty_strided(x.shape, strides, dtype=x.dtype, device=x.device).copy_(x)


def _cudnn_forward(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    if k.shape[1] == 1:  # cuDNN does not take a single key
        return MATH.forward(q, k, v, causal, scale)
    out, lse, *_ = _aten._scaled_dot_product_cudnn_attention(
        *_heads_first(q, k, v), None, True, 0.0, causal, False, scale=scale
    )
    return out.transpose(1, 2), lse.reshape(q.shape[0], q.shape[2], q.shape[1])


def _cudnn_backward(
    grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    if k.shape[1] == 1:
        return MATH.backward(grad_out, q, k, v, out, lse, causal, scale)
    query, key, value = _heads_first(q, k, v)
    # torch keeps a compiled backward for each layout of q, k and v, and takes it whatever the layout of
    # the other two (torch 2.9 and later, until it was mended): theirs must follow from q's.
    strides = torch.empty_like(query, device="meta").stride()
    grads = _aten._scaled_dot_product_cudnn_attention_backward(
        _with_strides(grad_out.transpose(1, 2), strides),
        query,
        key,
        value,
        _with_strides(out.transpose(1, 2), strides),
        _fp32_contiguous(lse).unsqueeze(-1),
        _unused(q.device),
        _unused(q.device),
        None,
        None,
        None,
        q.shape[1],
        k.shape[1],
        0.0,
        causal,
        scale=scale,
    )
    return _back(*grads)


_EFFICIENT_LSE_ALIGNMENT = 32


def _efficient_forward(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    out, lse, *_ = _aten._scaled_dot_product_efficient_attention(
        *_heads_first(q, k, v), None, True, 0.0, causal, scale=scale
    )
    return out.transpose(1, 2), lse.narrow(-1, 0, q.shape[1])  # the kernel pads lse to a multiple of 32


def _efficient_backward(
    grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    padding = -q.shape[1] % _EFFICIENT_LSE_ALIGNMENT
    padded = pad(lse.float(), (0, padding), value=float("inf")) if padding else _fp32_contiguous(lse)
    grads = _aten._scaled_dot_product_efficient_attention_backward(
        *_heads_first(grad_out, q, k, v),
        None,
        out.contiguous().transpose(1, 2),  # the kernel takes its tokens to be heads * d apart
        padded,
        _unused(q.device),
        _unused(q.device),
        0.0,
        [True, True, True, False],
        causal,
        scale=scale,
    )
    return _back(*grads[:3])


def _multiple_of_8_up_to(limit: int, head_dim: int) -> str | None:
    if head_dim % 8 or head_dim > limit:
        return f"it takes a head dim that is a multiple of 8 up to {limit}, not {head_dim}"
    return None


def _too_old() -> str | None:
    major, minor = torch.cuda.get_device_capability()
    if (major, minor) < _AMPERE:
        return f"it needs a GPU of compute capability 8.0 (Ampere) or newer, not {major}.{minor}"
    return None


def _cudnn_missing() -> str | None:
    return _too_old() if torch.backends.cudnn.is_available() else "cuDNN was not found"


_flash = in_grid_limits(*on_loadable(_flash_forward, _flash_backward))
_cudnn = in_grid_limits(*on_loadable(_cudnn_forward, _cudnn_backward))
_efficient = in_grid_limits(*on_loadable(_efficient_forward, _efficient_backward))

SDPA_FLASH = Backend(
    name="sdpa-flash",
    summary="torch's flash attention 2 for CUDA",
    devices=frozenset({"cuda"}),
    dtypes=_HALF,
    forward=_flash[0],
    backward=_flash[1],
    missing=_too_old,
    shape_limit=lambda head_dim: _multiple_of_8_up_to(256, head_dim),
)
SDPA_CUDNN = Backend(
    name="sdpa-cudnn",
    summary="cuDNN's fused attention",
    devices=frozenset({"cuda"}),
    dtypes=_HALF,
    forward=_cudnn[0],
    backward=_cudnn[1],
    missing=_cudnn_missing,
    shape_limit=lambda head_dim: _multiple_of_8_up_to(128, head_dim),
)
SDPA_EFFICIENT = Backend(
    name="sdpa-efficient",
    summary="torch's memory-efficient attention for CUDA; takes fp32",
    devices=frozenset({"cuda"}),
    dtypes=_HALF | {torch.float32},
    forward=_efficient[0],
    backward=_efficient[1],
    missing=present,
    shape_limit=lambda head_dim: _multiple_of_8_up_to(1024, head_dim),
)
