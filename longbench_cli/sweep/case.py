"""One point of a sweep: everything that decides what is computed, and nothing else."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from attention_impls.shape import AttentionShape
from longbench_cli.sweep.axes import MAX_NUMBER

Pass = Literal["fwd", "bwd", "fwd+bwd", "step"]
Dtype = Literal["float32", "float16", "bfloat16"]
Device = Literal["cpu", "cuda"]
Kind = Literal["op", "model"]

PASSES: tuple[str, ...] = get_args(Pass)
ELEMENT_BYTES: dict[str, int] = {"float32": 4, "float16": 2, "bfloat16": 2}
SHORT_DTYPES: dict[str, Dtype] = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}

_Size = Annotated[int, Field(ge=1, le=MAX_NUMBER)]


class Case(BaseModel):
    """What is measured. ``backend`` is "auto" in a plan and the one that ran in a record."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    impl: str = Field(description="implementation, as given")
    kind: Kind = Field(default="op", description="op: q, k, v in; model: token ids in. No part of the key")
    backend: str = Field(description='kernel back end, "auto" until one is picked, "none" if it takes none')
    pass_: Pass = Field(alias="pass")
    seq_len: _Size = Field(description="tokens in a sequence")
    batch: _Size
    heads: _Size
    kv_heads: _Size
    head_dim: _Size
    dtype: Dtype
    causal: bool
    world_size: _Size = Field(description="ranks that share the sequence, or the batch of a model")
    device: Device
    options: dict[str, Any] = Field(description="the implementation's own options, as given or default")

    @property
    def shape(self) -> AttentionShape:
        """The shape of the whole; ``world_size`` is 1 of a model, since no rank of it has a part of a sequence."""
        return AttentionShape(
            seq_len=self.seq_len,
            batch=self.batch,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            causal=self.causal,
            world_size=self.world_size if self.kind == "op" else 1,
        )

    @property
    def element_bytes(self) -> int:
        return ELEMENT_BYTES[self.dtype]

    @property
    def curve(self) -> str:
        """Identity of the curve this point lies on: the key without its sequence length and batch."""
        return "/".join(self._parts(with_length=False))

    @property
    def key(self) -> str:
        """Readable identity, stable between runs and days, so that records can be joined on it."""
        return "/".join(self._parts(with_length=True))

    def _parts(self, *, with_length: bool) -> list[str]:
        length = [f"n{self.seq_len}", f"b{self.batch}"] if with_length else []
        options = [f"{name}={_compact(value)}" for name, value in sorted(self.options.items()) if value is not None]
        return [
            self.impl,
            self.backend,
            self.pass_,
            *length,
            f"h{self.heads}",
            f"kv{self.kv_heads}",
            f"d{self.head_dim}",
            self.dtype,
            "causal" if self.causal else "full",
            f"w{self.world_size}",
            self.device,
            *options,
        ]


def _compact(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
