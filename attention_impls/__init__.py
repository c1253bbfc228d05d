"""Attention that can be measured: a library on torch alone.

    from attention_impls import vanilla_attention, dilated_attention

Names are imported when first used, so that ``import attention_impls`` does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attention_impls.dilated.op import dilated_attention
    from attention_impls.models.block_recurrent import BlockRecurrentTransformer
    from attention_impls.models.hierarchical import HierarchicalTransformer
    from attention_impls.models.longnet import LongNetTransformer, generate
    from attention_impls.sparse.op import sliding_window_attention, sparse_attention
    from attention_impls.vanilla import vanilla_attention

__all__ = [
    "BlockRecurrentTransformer",
    "HierarchicalTransformer",
    "LongNetTransformer",
    "dilated_attention",
    "generate",
    "sliding_window_attention",
    "sparse_attention",
    "vanilla_attention",
]

_HOMES = {
    "BlockRecurrentTransformer": "attention_impls.models.block_recurrent",
    "HierarchicalTransformer": "attention_impls.models.hierarchical",
    "LongNetTransformer": "attention_impls.models.longnet",
    "dilated_attention": "attention_impls.dilated.op",
    "generate": "attention_impls.models.longnet",
    "sliding_window_attention": "attention_impls.sparse.op",
    "sparse_attention": "attention_impls.sparse.op",
    "vanilla_attention": "attention_impls.vanilla",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
