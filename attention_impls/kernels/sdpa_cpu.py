"""torch's flash attention on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from attention_impls.kernels.base import Backend, present

_forward_op = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward_op = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def _heads_first(x: Tensor) -> Tensor:
    # The raw op is silently wrong when the last dimension is not contiguous.
    return (x if x.stride(-1) == 1 else x.contiguous()).transpose(1, 2)


def forward(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    out, lse = _forward_op(_heads_first(q), _heads_first(k), _heads_first(v), 0.0, causal, scale=scale)
    return out.transpose(1, 2), lse


def backward(
    grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    tensors = (_heads_first(x) for x in (grad_out, q, k, v, out))
    dq, dk, dv = _backward_op(*tensors, lse, 0.0, causal, scale=scale)
    return dq.transpose(1, 2), dk.transpose(1, 2), dv.transpose(1, 2)


SDPA_FLASH_CPU = Backend(
    name="sdpa-flash",
    summary="torch's flash attention for CPUs",
    devices=frozenset({"cpu"}),
    dtypes=frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64}),
    forward=forward,
    backward=backward,
    missing=present,
)
