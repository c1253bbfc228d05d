"""How large a transformer is and what it does: parameters, FLOPs, bytes. No torch here: planning asks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from attention_impls.api import Options, Work
from attention_impls.pattern import PASS_PARTS, Cost, Pattern, attention_cost
from attention_impls.shape import AttentionShape

FEED_FORWARDS = ("swiglu", "gelu")
DEFAULT_DEPTH = 2

SIZE_DEFAULTS: Options = {
    "preset": None,
    "depth": None,
    "ff_mult": 4,
    "vocab": 256,
    "feed_forward": "swiglu",
    "qk_norm": False,
    "parallel_block": False,
}
"""The options of every transformer here; ``depth`` None is the preset's, or 2."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A published size: ``heads`` heads of ``dim / heads`` features."""

    depth: int
    dim: int
    heads: int


PRESETS = {
    "125m": Preset(12, 768, 12),
    "350m": Preset(24, 1024, 16),
    "760m": Preset(24, 1536, 16),
    "2.7b": Preset(32, 2560, 32),
}
"""The sizes of LongNet's language models (arXiv:2307.02486), which are GPT-3's (arXiv:2005.14165, table 2.1). Their
names count an embedding of some 50,000 tokens."""

_MATMUL_FLOPS = {"fwd": 2, "bwd": 4}
"""For a parameter and token: a multiply-add; the backward needs one for the input's and one for its own gradient."""

_WEIGHT_TRAFFIC = {"fwd": 1, "bwd": 2}
"""The weights are read; the backward also writes their gradient."""

_WEIGHT_COPIES = {"fwd": 1, "bwd": 2, "fwd+bwd": 2, "step": 4}
"""Weights, their gradient, and Adam's two moments."""

_REFERENCE_FLOPS = 2e11
"""What a float64 reference may cost forward and backward: some six seconds of one CPU core."""

_REFERENCE_TOKENS = 4864
"""The most it is asked for: at some 4,900 positions XPOS in fp16 stops fading, and the reference's does not."""

_TOKEN_BYTES = 8
_TABLE_BYTES = 4


def hidden_size(feed_forward: str, dim: int, ff_mult: float) -> int:
    """Width inside the feed-forward: ``ff_mult * dim``, or for ``swiglu`` two thirds of it, in eights.

    Two thirds keep the parameters of three matrices at those of two (Shazeer, 2020, arXiv:2002.05202).
    """
    if feed_forward == "swiglu":
        return 8 * max(1, round(ff_mult * dim * 2 / 3 / 8))
    return max(1, round(ff_mult * dim))


@dataclass(frozen=True, slots=True)
class Architecture:
    """All of a decoder-only transformer but its attention.

    Attributes:
        vocab: token ids.
        dim: features of the residual stream.
        depth: blocks.
        heads: attention heads in a block.
        head_dim: features of a head, even (XPOS turns pairs); ``heads * head_dim`` need not be ``dim``.
        ff_mult: width inside the feed-forward over ``dim``; see :func:`hidden_size`.
        feed_forward: ``swiglu`` or ``gelu``.
        qk_norm: whether q and k are RMS-normalised, a head at a time.
        parallel_block: whether attention and feed-forward read the same input.
    """

    vocab: int
    dim: int
    depth: int
    heads: int
    head_dim: int
    ff_mult: float = 4
    feed_forward: str = "swiglu"
    qk_norm: bool = False
    parallel_block: bool = False

    def __post_init__(self) -> None:
        for name in ("vocab", "dim", "depth", "heads", "head_dim"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
        if isinstance(self.ff_mult, bool) or not isinstance(self.ff_mult, int | float) or not self.ff_mult > 0:
            raise ValueError(f"ff_mult must be a number above 0, not {self.ff_mult!r}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even, since XPOS turns pairs of features, not {self.head_dim}")
        if self.feed_forward not in FEED_FORWARDS:
            raise ValueError(f"unknown feed_forward {self.feed_forward!r}: choose {' or '.join(FEED_FORWARDS)}")
        for name in ("qk_norm", "parallel_block"):
            if getattr(self, name) is not True and getattr(self, name) is not False:
                raise ValueError(f"{name} must be true or false, not {getattr(self, name)!r}")

    @property
    def inner(self) -> int:
        """Features of all heads together."""
        return self.heads * self.head_dim

    @property
    def hidden(self) -> int:
        return hidden_size(self.feed_forward, self.dim, self.ff_mult)

    @property
    def matmul_parameters(self) -> int:
        """Parameters that every token is multiplied by: all but the embedding and the norms'."""
        expansions = 2 if self.feed_forward == "swiglu" else 1
        block = 4 * self.dim * self.inner + (expansions + 1) * self.dim * self.hidden
        return self.depth * block + self.dim * self.vocab

    @property
    def parameters(self) -> int:
        """Parameters in all."""
        norms = 2 * self.dim + 2 * self.inner + 2 * self.dim + 2 * self.hidden
        if self.qk_norm:
            norms += 2 * self.head_dim
        return self.matmul_parameters + self.depth * norms + 2 * self.dim + self.vocab * self.dim


def model_shape(shape: AttentionShape, options: Options) -> AttentionShape:
    """``shape`` as the model has it: causal, as many key heads as query heads, a preset's heads and head dim.

    Raises:
        ValueError: an unknown preset.
    """
    heads, head_dim = shape.heads, shape.head_dim
    if preset := _preset(options):
        heads, head_dim = preset.heads, preset.dim // preset.heads
    return replace(shape, heads=heads, kv_heads=heads, head_dim=head_dim, causal=True)


def architecture_of(shape: AttentionShape, options: Options) -> Architecture:
    """What ``options`` come to at ``shape``; ``dim`` is heads times head dim.

    Raises:
        ValueError: options that do not fit.
    """
    given = {**SIZE_DEFAULTS, **{name: options[name] for name in SIZE_DEFAULTS if name in options}}
    shape, preset = model_shape(shape, given), _preset(given)
    del given["preset"]
    if given["depth"] is None:
        given["depth"] = preset.depth if preset else DEFAULT_DEPTH
    elif preset:
        raise ValueError(f"preset {options['preset']!r} has {preset.depth} blocks: leave out depth or the preset")
    return Architecture(dim=shape.heads * shape.head_dim, heads=shape.heads, head_dim=shape.head_dim, **given)


def _preset(options: Options) -> Preset | None:
    name = options.get("preset")
    if name is None:
        return None
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}: choose {', '.join(PRESETS)}")
    return PRESETS[name]


def transformer_work(architecture: Architecture, pattern: Pattern, passes: str, element_bytes: int) -> Work:
    """What a pass ("fwd", "bwd", "fwd+bwd" or "step") does and holds.

    FLOPs: forward ``2 * matmul_parameters * tokens`` (Kaplan et al., 2020, arXiv:2001.08361, section 2.1) plus
    the attention's ``4 * pairs * head_dim`` a block; backward twice and 2.5 times that. A step is forward and
    backward: the optimiser's element by element work is not counted.

    ``io_bytes`` is a lower bound: the weights once a pass (and in the backward their gradient), token ids, and
    the logits or their gradient; what blocks hand on could stay in cache.

    ``peak_bytes`` is an estimate: weights, in the backward their gradient, in a step Adam's two moments;
    what autograd keeps of every block, or in a forward without a graph what one block holds at once.
    """
    shape, parts = pattern.shape, PASS_PARTS[passes]
    tokens = shape.batch * shape.seq_len
    attention = attention_cost(pattern, passes, element_bytes)
    matmul = sum(_MATMUL_FLOPS[part] for part in parts) * architecture.matmul_parameters * tokens
    logits = tokens * architecture.vocab * element_bytes
    weights = architecture.parameters * element_bytes
    ids = tokens * _TOKEN_BYTES
    held = _WEIGHT_COPIES[passes] * weights + _activation_bytes(architecture, shape, passes, element_bytes)
    return Work(
        cost=Cost(
            flops=matmul + architecture.depth * attention.flops,
            dense_flops=matmul + architecture.depth * attention.dense_flops,
            io_bytes=sum(_WEIGHT_TRAFFIC[part] * weights + logits for part in parts) + ids,
        ),
        parameters=architecture.parameters,
        input_bytes=ids,
        peak_bytes=held + ids,
    )


def _activation_bytes(a: Architecture, shape: AttentionShape, passes: str, element_bytes: int) -> int:
    """Activations, counted in features a token: x and norm x; qkv, turned q and k, out, norm out; feed-forward."""
    tokens = shape.batch * shape.seq_len
    attention = 2 * a.dim + 7 * a.inner
    feed_forward = 2 * a.dim + (5 if a.feed_forward == "swiglu" else 3) * a.hidden
    if passes == "fwd":
        features = a.dim + max(attention, feed_forward, a.vocab)
        lse_rows = tokens * a.heads
    else:
        features = a.depth * (attention + feed_forward) + 2 * a.dim + 2 * a.vocab
        lse_rows = a.depth * tokens * a.heads
    tables = 4 * shape.seq_len * (a.head_dim // 2)
    return tokens * features * element_bytes + (lse_rows + tables) * _TABLE_BYTES


def reference_length(architecture: Architecture, seq_len: int, boundary: int) -> int:
    """Tokens for the float64 reference: past the first ``boundary`` of its attention, or 1024 if that is more.

    At most :data:`_REFERENCE_TOKENS`; fewer, down to 64, where that would cost more than :data:`_REFERENCE_FLOPS`
    (forward, recomputed attention and backward: four times the forward).
    """
    for wanted in (min(max(1024, boundary + boundary // 8), _REFERENCE_TOKENS), 1024, 512, 256, 128):
        tokens = min(wanted, seq_len)
        attention = 2 * architecture.depth * architecture.inner * tokens**2
        if 4 * (2 * architecture.matmul_parameters * tokens + attention) <= _REFERENCE_FLOPS:
            return tokens
    return min(64, seq_len)
