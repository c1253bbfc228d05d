"""Vanilla attention as an entry of the registry; its code is in :mod:`attention_impls.vanilla`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attention_impls.api import Implementation


def _load() -> Callable[..., Any]:
    from attention_impls.vanilla import vanilla_attention

    return vanilla_attention


VANILLA = Implementation(
    name="vanilla",
    summary="exact softmax attention over all keys, through the chosen back end",
    load=_load,
    takes_backend=True,
)
