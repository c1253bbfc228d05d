"""The hierarchical transformer written out in float64 from its weights, with dense masks over all rows.

Apart from the module on purpose: attention is over every pair of a level's rows with a mask, not by phases
and windows; positions are complex rotations; compression gathers the tokens of each row.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from attention_impls.models.hierarchical_levels import Level
from attention_impls.models.hierarchical_sizes import Hierarchy

Parameters = Mapping[str, Tensor]


def hierarchical_logits(parameters: Parameters, tokens: Tensor, hierarchy: Hierarchy) -> Tensor:
    """Logits (batch, seq, num_tokens), float64, of ``tokens`` (batch, seq); O(seq^2) a head and layer."""
    p, levels, seq = parameters, hierarchy.levels, tokens.shape[1]
    embedded = p["token_embedding.weight"][tokens]
    rows = [
        _layer_norm(p, f"embed_norms.{i}", _compress(p, f"compress.{i}", embedded, x)) for i, x in enumerate(levels)
    ]
    for layer in range(hierarchy.depth):
        rows = [
            _block(p, f"layers.{layer}.{i}", x, level) for i, (x, level) in enumerate(zip(rows, levels, strict=True))
        ]
        if len(levels) == 1:
            continue
        together = _rms_norm(p, f"merges.{layer}.0", _per_token(rows, levels, seq))
        inner = torch.nn.functional.silu(_linear(p, f"merges.{layer}.1", together))
        news = _linear(p, f"merges.{layer}.3", inner)
        if hierarchy.merge_all:
            begin = 0
            for i, level in enumerate(levels):
                rows[i] = rows[i] + news[:, :: level.stride, begin : begin + level.dim]
                begin += level.dim
        else:
            rows[hierarchy.predict_level] = rows[hierarchy.predict_level] + news
    if hierarchy.predict_from_all:
        last = _per_token([_layer_norm(p, f"norms.{i}", x) for i, x in enumerate(rows)], levels, seq)
    else:
        last = _layer_norm(p, f"norms.{hierarchy.predict_level}", rows[hierarchy.predict_level])
    return _linear(p, "to_logits", last)


def _per_token(rows: list[Tensor], levels: tuple[Level, ...], seq: int) -> Tensor:
    return torch.cat(
        [x[:, torch.arange(seq, device=x.device) // level.stride] for x, level in zip(rows, levels, strict=True)], -1
    )


def _compress(p: Parameters, name: str, embedded: Tensor, level: Level) -> Tensor:
    if level.compression == 1:
        return _linear(p, name, embedded) if f"{name}.weight" in p else embedded
    before = embedded.new_zeros(embedded.shape[0], level.compression - 1, embedded.shape[2])
    device = embedded.device
    first = torch.arange(0, embedded.shape[1], level.stride, device=device)
    made_of = torch.cat((before, embedded), 1)[:, first[:, None] + torch.arange(level.compression, device=device)]
    made = torch.einsum("brcd,ndc->brn", made_of, p[f"{name}.conv.weight"]) + p[f"{name}.conv.bias"]
    return _linear(p, f"{name}.out", torch.nn.functional.silu(made))


def _block(p: Parameters, name: str, x: Tensor, level: Level) -> Tensor:
    if level.window != 0:
        x = x + _attention(p, f"{name}.attention", _shifted(x, level), level)
    inner = _linear(p, f"{name}.feed_forward.1", _rms_norm(p, f"{name}.feed_forward.0", _shifted(x, level)))
    return x + _linear(p, f"{name}.feed_forward.3", torch.nn.functional.gelu(inner))


def _shifted(x: Tensor, level: Level) -> Tensor:
    kept = (level.dim + 1) // 2
    source = torch.arange(x.shape[1], device=x.device) - level.phases
    moved = torch.where(source[:, None] >= 0, x[:, source.clamp(min=0), kept:], 0.0)
    return torch.cat((x[..., :kept], moved), -1)


def _attention(p: Parameters, name: str, x: Tensor, level: Level) -> Tensor:
    normed = (_rms_norm if level.window is None else _layer_norm)(p, f"{name}.norm", x)
    batch, rows, _ = x.shape
    q, k, v = _linear(p, f"{name}.to_qkv", normed).view(batch, rows, 3, level.heads, level.dim_head).unbind(2)
    index = torch.arange(rows, device=x.device)
    apart = index[:, None] - index[None, :]
    seen = (apart >= 0) & (apart % level.phases == 0)
    if level.window is not None:
        seen &= apart < level.window * level.phases
    pair = torch.arange(0, level.dim_head, 2, dtype=torch.float64, device=x.device) / level.dim_head
    place = (index // level.phases)[:, None].double()
    angle = place * 10000**-pair
    turned = torch.polar(torch.ones_like(angle), angle)
    fading = ((pair + 0.4) / 1.4) ** (place / 512) if level.window is None else torch.ones_like(pair)
    outs = []
    for head in range(level.heads):  # one head's scores at a time: (batch, rows, rows) is enough to hold
        query = _pairs(q[:, :, head]) * (turned * fading)
        key = _pairs(k[:, :, head]) * (turned / fading)
        scores = (query @ key.mH).real * level.dim_head**-0.5
        outs.append(scores.masked_fill(~seen, float("-inf")).softmax(-1) @ v[:, :, head])
    return _linear(p, f"{name}.to_out", torch.cat(outs, -1))


def _pairs(x: Tensor) -> Tensor:
    """Features i and i + d / 2 as one complex number."""
    half = x.shape[-1] // 2
    return torch.complex(x[..., :half], x[..., half:])


def _linear(p: Parameters, name: str, x: Tensor) -> Tensor:
    out = x @ p[f"{name}.weight"].T
    return out + p[f"{name}.bias"] if f"{name}.bias" in p else out


def _layer_norm(p: Parameters, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * p[f"{name}.weight"] + p[f"{name}.bias"]


def _rms_norm(p: Parameters, name: str, x: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * p[f"{name}.weight"]
