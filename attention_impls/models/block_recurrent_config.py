"""The sizes of a block-recurrent transformer, checked, in plain numbers: no torch here."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_COMPRESSION_FACTOR = 4
DEFAULT_QK_NORM_SCALE = 8.0


def upper_layer(depth: int) -> int:
    """The layer that is recurrent unless others are named: as far up as the paper's, which is 10 of 12."""
    return -(-10 * depth // 12)


def _require_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")


@dataclass(frozen=True, slots=True)
class BlockRecurrentConfig:
    """What :class:`attention_impls.models.block_recurrent.BlockRecurrentTransformer` is built from.

    Layers are numbered from 1. ``__post_init__`` raises ValueError for sizes that do not go together.

    Attributes:
        num_tokens: token ids.
        dim: features of a token and of a state vector.
        depth: layers.
        heads: query heads.
        kv_heads: key and value heads; divides ``heads``.
        dim_head: features of a head; even, because features are rotated in pairs.
        ff_mult: width of the feed-forward over ``dim``, before the two thirds of a gated one.
        block_width: tokens of a block, w.
        num_state_vectors: of each recurrent layer, S.
        recurrent_layers: layers with a state.
        xl_memories_layers: layers whose tokens also see the previous block.
        qk_norm_layers: layers with normalised queries and keys, those of their state included.
        qk_norm_scale: factor on the scores of those layers.
        compressed_memory: compressed keys that the layers with a memory keep of earlier blocks; None for none.
        compression_factor: tokens compressed into one.
    """

    num_tokens: int
    dim: int
    depth: int
    heads: int
    kv_heads: int
    dim_head: int
    ff_mult: float
    block_width: int
    num_state_vectors: int
    recurrent_layers: tuple[int, ...]
    xl_memories_layers: tuple[int, ...]
    qk_norm_layers: tuple[int, ...]
    qk_norm_scale: float
    compressed_memory: int | None
    compression_factor: int

    def __post_init__(self) -> None:
        counts = ("num_tokens", "dim", "depth", "heads", "kv_heads", "dim_head", "block_width", "num_state_vectors")
        for name in (*counts, "compression_factor"):
            _require_count(name, getattr(self, name))
        if self.ff_dim < 1:
            raise ValueError(f"ff_mult must give a feed-forward of at least one feature, not {self.ff_mult!r}")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        if self.dim_head % 2:
            raise ValueError(f"dim_head must be even, because features are rotated in pairs, not {self.dim_head}")
        for name in ("recurrent_layers", "xl_memories_layers", "qk_norm_layers"):
            layers: tuple[int, ...] = getattr(self, name)
            if list(layers) != sorted(set(layers)) or not all(1 <= layer <= self.depth for layer in layers):
                raise ValueError(f"{name} must be different layers from 1 to {self.depth}, in order, not {layers}")
        if self.compressed_memory is None:
            return
        _require_count("compressed_memory", self.compressed_memory)
        if self.block_width % self.compression_factor:
            raise ValueError(
                f"block_width ({self.block_width}) must be a multiple of compression_factor ({self.compression_factor})"
            )

    @property
    def inner(self) -> int:
        """Features of all query heads."""
        return self.heads * self.dim_head

    @property
    def kv_inner(self) -> int:
        """Features of all key heads."""
        return self.kv_heads * self.dim_head

    @property
    def ff_dim(self) -> int:
        """Features of a gated feed-forward: two thirds, so that its three matrices cost what two would."""
        return int(self.dim * self.ff_mult * 2 / 3)

    @property
    def compressing_layers(self) -> tuple[int, ...]:
        """Layers with a compressed memory."""
        return () if self.compressed_memory is None else self.xl_memories_layers

    def compressed_keys(self, block: int) -> int:
        """Compressed keys that block ``block`` (from 0) sees: those of the blocks before its previous one."""
        made = max(0, block - 1) * (self.block_width // self.compression_factor)
        return min(self.compressed_memory or 0, made)

    def parameters(self) -> int:
        """How many numbers the model learns."""
        dim, inner, kv, d = self.dim, self.inner, self.kv_inner, self.dim_head
        attention = dim + dim * inner + 2 * dim * kv + inner * dim
        feed_forward = dim + 3 * dim * self.ff_dim
        total = self.depth * (attention + feed_forward) + 2 * self.num_tokens * dim + dim
        projections = 3 * dim * inner + 2 * dim * kv + 2 * inner * dim + dim * dim + dim
        cell = projections + 2 * self.num_state_vectors * dim + 2 * dim  # vectors, their positions; norm, gate
        total += len(self.recurrent_layers) * (cell + inner * dim)  # tokens' output from the state as well
        total += len(self.qk_norm_layers) * 2 * d
        total += len(set(self.qk_norm_layers) & set(self.recurrent_layers)) * 6 * d
        return total + len(self.compressing_layers) * 2 * (self.compression_factor * d + 1) * d
