"""torch's CUDA attention ops, on the CPU: arguments by the real schemas, memory read as the kernels read it.

What a kernel assumes without checking (rows on 16-byte boundaries, a packed output, the layout of a
plan it compiled before) is assumed here too, so that a caller who breaks it gets wrong numbers or an error.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from attention_impls.kernels.math import MATH


def _bind(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> SimpleNamespace:
    """Arguments by name, as the dispatcher binds them."""
    arguments = getattr(torch.ops.aten, name).default._schema.arguments
    positional = [a.name for a in arguments if not a.kwarg_only]
    assert len(args) <= len(positional), f"{name} takes {len(positional)} positional arguments, not {len(args)}"
    given = dict(zip(positional, args, strict=False))
    assert not given.keys() & kwargs.keys()
    values = {a.name: a.default_value for a in arguments if a.has_default_value()} | given | kwargs
    assert values.keys() == {a.name for a in arguments}, f"{name}: {values.keys() ^ {a.name for a in arguments}}"
    return SimpleNamespace(**values)


def _check_loadable(*tensors: Tensor) -> None:
    for x in tensors:
        strides = [s for size, s in zip(x.shape[:-1], x.stride()[:-1], strict=True) if size > 1]
        assert x.stride(-1) == 1, "the last dimension is not contiguous"
        assert all(place * x.element_size() % 16 == 0 for place in (x.storage_offset(), *strides)), "misaligned rows"


def _tokens_first(*tensors: Tensor) -> list[Tensor]:
    return [x.transpose(1, 2) for x in tensors]


def _forward(a: SimpleNamespace) -> tuple[Tensor, Tensor]:
    _check_loadable(a.query, a.key, a.value)
    assert a.dropout_p == 0
    out, lse = MATH.forward(*_tokens_first(a.query, a.key, a.value), a.is_causal, a.scale)
    return torch.empty_like(a.query).copy_(out.transpose(1, 2)), lse


def _backward(a: SimpleNamespace, grad_out: Tensor, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    assert a.dropout_p == 0
    assert lse.dtype == torch.float32
    tensors = _tokens_first(grad_out, a.query, a.key, a.value, out)
    dq, dk, dv = _tokens_first(*MATH.backward(*tensors, lse, a.is_causal, a.scale))
    return dq, dk, dv


def _flash(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    a = _bind("_scaled_dot_product_flash_attention", args, kwargs)
    out, lse = _forward(a)
    assert not a.return_debug_mask
    return out, lse, None, None, out.shape[2], out.shape[2], None, None, None


def _flash_backward(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
    a = _bind("_scaled_dot_product_flash_attention_backward", args, kwargs)
    _check_loadable(a.query, a.key, a.value)
    assert (a.cum_seq_q, a.cum_seq_k) == (None, None)
    assert (a.max_q, a.max_k) == (a.query.shape[2], a.key.shape[2])
    assert (a.philox_seed.dtype, a.philox_seed.shape) == (torch.uint64, (2,))
    batch, heads, seq, _ = a.query.shape
    packed = a.logsumexp.as_strided((batch, heads, seq), (heads * seq, seq, 1))
    return _backward(a, a.grad_out.contiguous(), a.out.contiguous(), packed)


def _cudnn(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    a = _bind("_scaled_dot_product_cudnn_attention", args, kwargs)
    assert a.attn_bias is None
    assert a.compute_log_sumexp
    assert a.key.shape[2] > 1, "cuDNN does not take a single key"
    out, lse = _forward(a)
    return out, lse.unsqueeze(-1), None, None, out.shape[2], out.shape[2], None, None, None


def _cudnn_backward(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
    a = _bind("_scaled_dot_product_cudnn_attention_backward", args, kwargs)
    _check_loadable(a.query, a.key, a.value, a.out, a.grad_out)
    assert (a.attn_bias, a.cum_seq_q, a.cum_seq_k) == (None, None, None)
    assert (a.max_q, a.max_k) == (a.query.shape[2], a.key.shape[2])
    assert a.key.shape[2] > 1, "cuDNN does not take a single key"
    batch, heads, seq, _ = a.query.shape
    assert a.logsumexp.shape == (batch, heads, seq, 1)
    assert a.logsumexp.is_contiguous()
    planned = torch.empty_like(a.query).stride()
    out, grad_out = (x.as_strided(x.shape, planned) for x in (a.out, a.grad_out))
    return _backward(a, grad_out, out, a.logsumexp[..., 0])


def _efficient(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    a = _bind("_scaled_dot_product_efficient_attention", args, kwargs)
    assert a.attn_bias is None
    assert a.compute_log_sumexp
    out, lse = _forward(a)
    padding = -lse.shape[-1] % 32
    return out, torch.nn.functional.pad(lse, (0, padding), value=float("inf")), None, None


def _efficient_backward(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    a = _bind("_scaled_dot_product_efficient_attention_backward", args, kwargs)
    a.grad_out = a.grad_out_
    _check_loadable(a.query, a.key, a.value)
    assert a.attn_bias is None
    assert a.grad_input_mask == [True, True, True, False]
    _, heads, seq, head_dim = a.query.shape
    assert a.logsumexp.stride(-1) == 1
    assert [s % 32 for s in a.logsumexp.stride()[:2]] == [0, 0]
    assert bool((a.logsumexp[..., seq:] == float("inf")).all())
    by_batch, by_head, _, _ = a.out.stride()
    out = a.out.as_strided(a.out.shape, (by_batch, by_head, heads * head_dim, 1))
    return *_backward(a, a.grad_out.contiguous(), out, a.logsumexp[..., :seq]), None


STAND_INS = SimpleNamespace(
    _scaled_dot_product_flash_attention=_flash,
    _scaled_dot_product_flash_attention_backward=_flash_backward,
    _scaled_dot_product_cudnn_attention=_cudnn,
    _scaled_dot_product_cudnn_attention_backward=_cudnn_backward,
    _scaled_dot_product_efficient_attention=_efficient,
    _scaled_dot_product_efficient_attention_backward=_efficient_backward,
)
