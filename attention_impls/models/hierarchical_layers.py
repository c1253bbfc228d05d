"""The parts of a hierarchical transformer: compression, a level's block, the merge of levels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from attention_impls.models.hierarchical_levels import Level
from attention_impls.models.hierarchical_sizes import EXPANSION
from attention_impls.models.layers import LAYER_NORM_EPS, RMS_NORM_EPS, ROTARY_BASE, XPos, turn, xpos
from attention_impls.sparse.op import sliding_window_attention
from attention_impls.vanilla import vanilla_attention


def rotary(length: int, head_dim: int, dtype: torch.dtype, device: torch.device) -> XPos:
    """Rotary positions 0 to ``length - 1`` (Su et al., 2021, arXiv:2104.09864): XPOS without its fading."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    pair = torch.arange(0, head_dim, 2, dtype=torch.float64, device=device) / head_dim
    angle = torch.arange(length, dtype=torch.float64, device=device).unsqueeze(1) * ROTARY_BASE**-pair
    cos, sin = (table.to(wide).unsqueeze(1) for table in (angle.cos(), angle.sin()))
    return XPos(cos, sin, cos, sin)


def positions(level: Level, tokens: int, dtype: torch.dtype, device: torch.device) -> XPos:
    """What turns q and k of one phase of ``level`` at ``tokens`` tokens: XPOS where it has no window, else rotary."""
    length = level.length(tokens)
    if level.window is None:
        return xpos(0, length, level.dim_head, dtype, device)
    return rotary(length, level.dim_head, dtype, device)


def shift_half(x: Tensor, rows: int) -> Tensor:
    """The second half of the features comes from ``rows`` rows before, zeros where there is none (RWKV's token shift).

    x and the result are (batch, rows, dim).
    """
    kept, moved = x.chunk(2, -1)
    step = min(rows, x.shape[1])
    return torch.cat((kept, functional.pad(moved, (0, 0, step, -step))), -1)


def split_phases(x: Tensor, phases: int) -> Tensor:
    """(batch, rows, heads, d) -> (batch * phases, ceil(rows / phases), heads, d); shorter phases end in zeros.

    The zeros are later than every row of their phase: no causal attention lets one see them.
    """
    if phases == 1:
        return x
    batch, rows, heads, head_dim = x.shape
    if ragged := rows % phases:
        x = functional.pad(x, (0, 0, 0, 0, 0, phases - ragged))
    return x.view(batch, -1, phases, heads, head_dim).transpose(1, 2).flatten(0, 1)


def join_phases(x: Tensor, phases: int, rows: int) -> Tensor:
    """The inverse of :func:`split_phases`."""
    if phases == 1:
        return x
    apart = x.reshape(-1, phases, *x.shape[1:])
    return apart.transpose(1, 2).flatten(1, 2)[:, :rows]


def spread(rows: Tensor, stride: int, tokens: int) -> Tensor:
    """Give each token the row that it reads: (batch, rows, dim) -> (batch, tokens, dim)."""
    return rows if stride == 1 else rows.repeat_interleave(stride, 1)[:, :tokens]


class Compression(nn.Module):
    """A level's rows from the tokens' embeddings: a causal convolution over the tokens each is made of, and an MLP.

    (batch, seq, dim) -> (batch, ceil(seq / stride), level dim).
    """

    def __init__(self, dim: int, level: Level) -> None:
        super().__init__()
        self.conv = nn.Conv1d(dim, EXPANSION * dim, level.compression, level.stride)
        self.out = nn.Linear(EXPANSION * dim, level.dim)

    def forward(self, x: Tensor) -> Tensor:
        before = self.conv.kernel_size[0] - 1
        made = self.conv(functional.pad(x.transpose(1, 2), (before, 0)))
        rows: Tensor = self.out(functional.silu(made.transpose(1, 2)))
        return rows


def compression(dim: int, level: Level) -> nn.Module:
    """What makes a level's rows from embeddings of ``dim`` features; nothing where they are the rows."""
    if level.compression > 1:
        return Compression(dim, level)
    return nn.Identity() if level.dim == dim else nn.Linear(dim, level.dim, bias=False)


class LevelAttention(nn.Module):
    """Causal attention of a level's rows, each phase for itself: (batch, rows, dim) -> the same."""

    def __init__(self, level: Level, backend: str | None) -> None:
        super().__init__()
        full = level.window is None
        self.level, self.backend = level, backend
        self.norm = nn.RMSNorm(level.dim, RMS_NORM_EPS) if full else nn.LayerNorm(level.dim, LAYER_NORM_EPS)
        self.to_qkv = nn.Linear(level.dim, 3 * level.inner, bias=False)
        self.to_out = nn.Linear(level.inner, level.dim, bias=False)

    def forward(self, x: Tensor, at: XPos) -> Tensor:
        level, rows = self.level, x.shape[1]
        qkv = self.to_qkv(self.norm(x)).unflatten(2, (3, level.heads, level.dim_head))
        q, k, v = (split_phases(part, level.phases) for part in qkv.unbind(2))
        q, k = turn(q, at.q_cos, at.q_sin), turn(k, at.k_cos, at.k_sin)
        if level.window is None or level.window >= q.shape[1]:
            out = vanilla_attention(q, k, v, causal=True, backend=self.backend)
        else:
            out = sliding_window_attention(q, k, v, causal=True, window=level.window, backend=self.backend)
        result: Tensor = self.to_out(join_phases(out, level.phases, rows).flatten(2))
        return result


class LevelBlock(nn.Module):
    """One layer of a level: attention, then feed-forward, both of half-shifted rows."""

    def __init__(self, level: Level, backend: str | None) -> None:
        super().__init__()
        self.phases = level.phases
        self.attention = None if level.window == 0 else LevelAttention(level, backend)
        self.feed_forward = nn.Sequential(
            nn.RMSNorm(level.dim, RMS_NORM_EPS),
            nn.Linear(level.dim, level.hidden, bias=False),
            nn.GELU(),
            nn.Linear(level.hidden, level.dim, bias=False),
        )

    def forward(self, x: Tensor, at: XPos) -> Tensor:
        if self.attention is not None:
            x = x + self.attention(shift_half(x, self.phases), at)
        added: Tensor = self.feed_forward(shift_half(x, self.phases))
        return x + added


def merge(width: int, merged: int) -> nn.Sequential:
    """What all levels side by side add to those that are merged into: (batch, seq, width) -> (batch, seq, merged)."""
    return nn.Sequential(
        nn.RMSNorm(width, RMS_NORM_EPS), nn.Linear(width, 2 * merged), nn.SiLU(), nn.Linear(2 * merged, merged)
    )
