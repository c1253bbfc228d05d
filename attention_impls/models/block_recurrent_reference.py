"""The Block-Recurrent Transformer written out: a loop over blocks, every score written out, apart from the module.

It shares with :mod:`attention_impls.models.block_recurrent` its config and the names in its state dict.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from attention_impls.models.block_recurrent_config import BlockRecurrentConfig

ROWS = 128
"""Queries at once: their scores are all that is held of a block's, and for the backward they are done again."""

Parameters = Mapping[str, Tensor]
KeysValues = tuple[Tensor, Tensor]


def reference_logits(
    parameters: Parameters, tokens: Tensor, config: BlockRecurrentConfig, bptt: int | None = None
) -> Tensor:
    """Logits (batch, seq, num_tokens) of a sequence from its start, in the parameters' dtype.

    Args:
        parameters: the module's state dict; the result is differentiable in it.
        tokens: (batch, seq) int64.
        config: what the module was made with.
        bptt: blocks after which gradients are cut; all are linked if None.
    """
    layers = [_Layer(parameters, config, layer, tokens.shape[0]) for layer in range(1, config.depth + 1)]
    logits = []
    for number, block in enumerate(tokens.split(config.block_width, 1)):
        if bptt is not None and number and number % bptt == 0:
            for layer in layers:
                layer.forget_history()
        x = parameters["embedding.weight"][block]
        for layer in layers:
            x = layer.block(x)
        x = _normed(x, parameters["norm.weight"])
        logits.append(x @ parameters["to_logits.weight"].T)
    return torch.cat(logits, 1)


class _Layer:
    """One layer, given a sequence block by block; k and v are (batch, kv_heads, tokens, d)."""

    def __init__(self, parameters: Parameters, config: BlockRecurrentConfig, layer: int, batch: int) -> None:
        prefix = f"layers.{layer - 1}."
        self.p = {name.removeprefix(prefix): p for name, p in parameters.items() if name.startswith(prefix)}
        self.config = config
        self.remembers = layer in config.xl_memories_layers
        self.compresses = layer in config.compressing_layers
        self.scale = config.qk_norm_scale if layer in config.qk_norm_layers else config.dim_head**-0.5
        self.previous: KeysValues | None = None
        self.compressed: KeysValues | None = None
        self.state: Tensor | None = None
        if layer in config.recurrent_layers:
            self.state = self.p["attention.cell.initial"].expand(batch, -1, -1)

    def forget_history(self) -> None:
        self.previous = self.previous and (self.previous[0].detach(), self.previous[1].detach())
        self.compressed = self.compressed and (self.compressed[0].detach(), self.compressed[1].detach())
        self.state = None if self.state is None else self.state.detach()

    def block(self, x: Tensor) -> Tensor:
        """x (batch, at most w, dim) through attention and feed-forward; memory and state move on."""
        x = x + self._attention(_normed(x, self.p["attention.norm.weight"]))
        value, gate = (_normed(x, self.p["feed_forward.norm.weight"]) @ self.p["feed_forward.up.weight"].T).chunk(2, -1)
        gelu = gate * 0.5 * (1 + torch.erf(gate / 2**0.5))
        return x + (value * gelu) @ self.p["feed_forward.down.weight"].T

    def _attention(self, x: Tensor) -> Tensor:
        q = self._heads(x, "attention.to_q")
        own = self._keys_values(x, "attention.to_kv")
        past = [keys for keys in (self.compressed, self.previous) if keys is not None]
        k, v = (torch.cat(tensors, 2) for tensors in zip(*past, own, strict=True))
        out = self._softmax(q, k, v, "attention.scores", token_positions=True)
        if self.state is not None:
            cell = "attention.cell."
            vectors = _normed(self.state, self.p[cell + "norm.weight"]) + self.p[cell + "positions"]
            state_kv = self._keys_values(vectors, cell + "to_kv")
            read = self._softmax(self._heads(x, cell + "to_read"), *state_kv, cell + "read_scores")
            out = torch.cat((out, read), -1)
            if x.shape[1] == self.config.block_width:
                self.state = self._next_state(self.state, vectors, state_kv, own)
        if x.shape[1] == self.config.block_width:
            self._remember(own)
        return out @ self.p["attention.to_out.weight"].T

    def _next_state(self, state: Tensor, vectors: Tensor, state_kv: KeysValues, own: KeysValues) -> Tensor:
        cell = "attention.cell."
        from_state = self._softmax(self._heads(vectors, cell + "to_self"), *state_kv, cell + "self_scores")
        from_block = self._softmax(self._heads(vectors, cell + "to_write"), *own, cell + "write_scores")
        out = torch.cat((from_state, from_block), -1) @ self.p[cell + "to_out.weight"].T
        update = out @ self.p[cell + "to_update.weight"].T + self.p[cell + "to_update.bias"]
        gate = torch.sigmoid(self.p[cell + "gate_bias"])
        return state * gate + update * (1 - gate)

    def _remember(self, own: KeysValues) -> None:
        if not self.remembers:
            return
        if self.compresses and self.previous is not None:
            parts = zip(self.compressed or (None, None), self.previous, ("keys", "values"), strict=True)
            k, v = (self._compress(*part) for part in parts)
            self.compressed = k, v
        self.previous = own

    def _compress(self, compressed: Tensor | None, leaving: Tensor, name: str) -> Tensor:
        weight, bias = (self.p[f"attention.compression.{name}.{kind}"] for kind in ("weight", "bias"))
        factor, d = self.config.compression_factor, self.config.dim_head
        taps = weight.view(d, factor, d)  # (to, place in the group, from)
        groups = leaving.unflatten(2, (-1, factor))
        new = torch.einsum("bhgpi,opi->bhgo", groups, taps) + bias
        kept = new if compressed is None else torch.cat((compressed, new), 2)
        return kept[:, :, -(self.config.compressed_memory or 0) :]

    def _heads(self, x: Tensor, name: str) -> Tensor:
        """(batch, tokens, dim) -> (batch, heads, tokens, d)."""
        projected = x @ self.p[name + ".weight"].T
        return projected.view(*x.shape[:2], -1, self.config.dim_head).transpose(1, 2)

    def _keys_values(self, x: Tensor, name: str) -> KeysValues:
        k, v = self._heads(x, name).chunk(2, 1)
        return k, v

    def _softmax(self, q: Tensor, k: Tensor, v: Tensor, scores: str, *, token_positions: bool = False) -> Tensor:
        """(batch, tokens, heads * d). With positions, the last query is at the last key's, and sees none after it."""
        if f"{scores}.norm.query_scale" in self.p:
            q = q / q.norm(dim=-1, keepdim=True) * self.p[f"{scores}.norm.query_scale"]
            k = k / k.norm(dim=-1, keepdim=True) * self.p[f"{scores}.norm.key_scale"]
        group = self.config.heads // self.config.kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        at = torch.arange(k.shape[2] - q.shape[2], k.shape[2], device=q.device) if token_positions else None
        rows = []
        for i, part in enumerate(q.split(ROWS, 2)):
            here = None if at is None else at[i * ROWS :][:ROWS]
            rows.append(checkpoint(self._softmax_rows, part, k, v, here, use_reentrant=False))
        return torch.cat(rows, 2).transpose(1, 2).flatten(2)

    def _softmax_rows(self, q: Tensor, k: Tensor, v: Tensor, query_at: Tensor | None) -> Tensor:
        if query_at is None:
            product = q @ k.transpose(2, 3)
        else:
            key_at = torch.arange(k.shape[2], device=k.device)
            product = _xpos_product(q, k, query_at, key_at).masked_fill(key_at > query_at[:, None], float("-inf"))
        return (product * self.scale).softmax(-1) @ v


def _xpos_product(q: Tensor, k: Tensor, query_at: Tensor, key_at: Tensor) -> Tensor:
    """sum_i zeta_i ** ((m - n) / 512) Re(q_i conj(k_i) exp(1j (m - n) theta_i)), a query at m and a key at n.

    XPOS (Sun et al., 2022, arXiv:2212.10554) with features i and i + d / 2 as the parts of a complex number.
    """
    half = q.shape[-1] // 2
    pair = torch.arange(half, dtype=q.dtype, device=q.device) / half
    exponent = torch.complex(((pair + 0.4) / 1.4).log() / 512, 10000**-pair)
    q, k = (torch.complex(x[..., :half], x[..., half:]) for x in (q, k))
    q = q * torch.exp(query_at[:, None] * exponent)
    k = k.conj() * torch.exp(-key_at[:, None] * exponent)
    return (q @ k.transpose(2, 3)).real


def _normed(x: Tensor, weight: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight
