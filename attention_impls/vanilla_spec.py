"""Vanilla attention as an entry of the registry; its code is in :mod:`attention_impls.vanilla`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attention_impls.api import Implementation, Unsupported
from attention_impls.distributed.vanilla_plan import PARALLEL


def _load() -> Callable[..., Any]:
    from attention_impls.vanilla import vanilla_attention

    def run(q: Any, k: Any, v: Any, *, parallel: str | None = None, **options: Any) -> Any:
        if parallel is not None:
            raise Unsupported(f"parallel {parallel!r} is for a sequence shared by several ranks: this is one")
        return vanilla_attention(q, k, v, **options)

    return run


VANILLA = Implementation(
    name="vanilla",
    summary="exact softmax attention over all keys, through the chosen back end",
    load=_load,
    defaults={"parallel": None},
    takes_backend=True,
    parallel=PARALLEL,
)
