"""The shape of one attention problem, in plain numbers: no torch here, so that planning is cheap."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """What an implementation is asked to compute.

    Tensors are laid out (batch, seq, heads, head_dim) everywhere in this library.

    Attributes:
        seq_len: tokens in a sequence, N.
        batch: sequences.
        heads: query heads, H.
        kv_heads: key and value heads; divides ``heads`` (grouped-query attention when smaller).
        head_dim: features of one head, d.
        causal: whether a query sees only keys at or before its own position.
        world_size: ranks that share the sequence.
    """

    seq_len: int
    batch: int = 1
    heads: int = 8
    kv_heads: int = 8
    head_dim: int = 64
    causal: bool = False
    world_size: int = 1

    def __post_init__(self) -> None:
        for name in ("seq_len", "batch", "heads", "kv_heads", "head_dim", "world_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")

    @property
    def group_size(self) -> int:
        """Query heads that share one key head."""
        return self.heads // self.kv_heads
