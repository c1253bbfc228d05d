"""The flash-attn packages: version 2 (flash_attn), 3 (flash_attn_interface) and 4 (flash_attn.cute)."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from attention_impls.kernels.base import Backend, Backward, Forward, in_grid_limits
from attention_impls.kernels.layout import on_loadable

_NO_WINDOW = -1
_HALF = frozenset({torch.float16, torch.bfloat16})


def _why_missing(module: str, package: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        try:
            found = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:  # a parent package is missing
            found = False
        if not found:
            return f"the package {package} is not installed"
        try:
            importlib.import_module(module)
        except Exception as error:  # a build for another torch or CUDA fails in many ways
            return f"{module} does not import: {type(error).__name__}: {error}"
        return None

    return missing


def _api(module: str) -> ModuleType:
    return importlib.import_module(module)


def _version2() -> tuple[Forward, Backward]:
    module = "flash_attn.flash_attn_interface"

    def forward(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
        out, lse, *_ = _api(module)._flash_attn_forward(
            q, k, v, 0.0, scale, causal, _NO_WINDOW, _NO_WINDOW, 0.0, None, False
        )
        return out, lse

    def backward(
        grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        grads = _empty_gradients(q, k, v)
        _api(module)._flash_attn_backward(
            *(grad_out, q, k, v, out, lse.float().contiguous()),
            *grads,
            *(0.0, scale, causal, _NO_WINDOW, _NO_WINDOW, 0.0, None, False),
        )
        return grads

    return in_grid_limits(*on_loadable(forward, backward))


def _version3() -> tuple[Forward, Backward]:
    module = "flash_attn_interface"

    def forward(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
        out, lse, *_ = _api(module)._flash_attn_forward(q, k, v, softmax_scale=scale, causal=causal)
        return out, lse

    def backward(
        grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        dq, dk, dv = _empty_gradients(q, k, v)
        tensors = (grad_out, q, k, v, out, lse.float().contiguous())
        _api(module)._flash_attn_backward(*tensors, dq=dq, dk=dk, dv=dv, softmax_scale=scale, is_causal=causal)
        return dq, dk, dv

    return in_grid_limits(*on_loadable(forward, backward))


def _version4() -> tuple[Forward, Backward]:
    module = "flash_attn.cute.interface"

    def forward(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
        out, lse, *_ = _api(module)._flash_attn_fwd(q, k, v, softmax_scale=scale, causal=causal, return_lse=True)
        return out, lse

    def backward(
        grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        tensors = (q, k, v, out, grad_out, lse.float().contiguous())
        dq, dk, dv, *_ = _api(module)._flash_attn_bwd(*tensors, softmax_scale=scale, causal=causal)
        return dq, dk, dv

    return in_grid_limits(*on_loadable(forward, backward))


def _empty_gradients(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    return dq, dk, dv


def _limit(head_dim: int) -> str | None:
    if head_dim % 8 or head_dim > 256:
        return f"it takes a head dim that is a multiple of 8 up to 256, not {head_dim}"
    return None


def _backend(version: int, module: str, package: str, kernels: tuple[Forward, Backward]) -> Backend:
    return Backend(
        name=f"flash-attn-{version}",
        summary=f"the flash-attn package, version {version}",
        devices=frozenset({"cuda"}),
        dtypes=_HALF,
        forward=kernels[0],
        backward=kernels[1],
        missing=_why_missing(module, package),
        shape_limit=_limit,
    )


FLASH_ATTN = (
    _backend(4, "flash_attn.cute.interface", "flash-attn-4", _version4()),
    _backend(3, "flash_attn_interface", "flash_attn_3", _version3()),
    _backend(2, "flash_attn.flash_attn_interface", "flash-attn", _version2()),
)
