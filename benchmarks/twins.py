"""The same attention under two names: whatever is measured between them is an error of the instrument."""

from __future__ import annotations

from torch import Tensor

from attention_impls import vanilla_attention


def one(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
    """Full attention."""
    return vanilla_attention(q, k, v, causal=causal)


def other(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
    """Full attention."""
    return vanilla_attention(q, k, v, causal=causal)
