"""The parts of a block beside its attention: norms, XPOS, feed-forward, and how weights are drawn."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from attention_impls.models.sizes import Architecture

LAYER_NORM_EPS = 1e-5
RMS_NORM_EPS = 1e-6
ROTARY_BASE = 10000
XPOS_BASE = 512
XPOS_GAMMA = 0.4

_LOG_SCALE_LIMIT = 40.0
_LOG_SCALE_LIMIT_FP16 = 6.0


class XPos(NamedTuple):
    """What XPOS multiplies q and k by at some positions; each (positions, 1, head_dim / 2)."""

    q_cos: Tensor
    q_sin: Tensor
    k_cos: Tensor
    k_sin: Tensor


def xpos(start: int, length: int, head_dim: int, dtype: torch.dtype, device: torch.device) -> XPos:
    """XPOS (Sun et al., 2022, arXiv:2212.10554, algorithm 1) at positions ``start .. start + length - 1``.

    Feature pair i of a query at m and a key at n turns by (m - n) theta_i and fades as
    zeta_i ** ((m - n) / 512), with theta_i = 10000 ** (-2i / d) and zeta_i = (2i / d + 0.4) / 1.4.
    The fading is a product of a scale of q, zeta ** (m / 512), and one of k, zeta ** (-n / 512), and at 1m
    positions neither can be written down, in any floating point. So each pair's logarithm of the scale goes
    from -40 at position 0 to +40 (6 for fp16) and stays there: what autograd and kernels multiply is
    finite at any length, the fading is exact as far as that reaches (the fastest pair 32.7k positions, the
    slowest of 64 features 1.8m; in fp16 4.9k and 272k), and two tokens that both lie beyond see each
    other turned and not faded. Positions are absolute, so a cached key never has to be scaled again.

    Tables are fp32 (fp64 for fp64) of angles in fp64: at 1m an fp32 angle is off by 0.03.
    """
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    limit = _LOG_SCALE_LIMIT_FP16 if dtype == torch.float16 else _LOG_SCALE_LIMIT
    pair = torch.arange(0, head_dim, 2, dtype=torch.float64, device=device) / head_dim
    position = torch.arange(start, start + length, dtype=torch.float64, device=device).unsqueeze(1)
    angle = position * ROTARY_BASE**-pair
    fading = -torch.log((pair + XPOS_GAMMA) / (1 + XPOS_GAMMA)) / XPOS_BASE
    scale = torch.exp((position * fading).clamp(max=2 * limit) - limit)
    cos, sin = angle.cos(), angle.sin()
    return XPos(*(table.to(wide).unsqueeze(1) for table in (cos / scale, sin / scale, cos * scale, sin * scale)))


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn and scale x (batch, seq, heads, d) by tables of :class:`XPos`, in their dtype; i goes with i + d / 2."""
    first, second = x.to(cos.dtype).chunk(2, -1)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), -1).to(x.dtype)


def layer_norm(dim: int, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.LayerNorm:
    return nn.LayerNorm(dim, eps=LAYER_NORM_EPS, device=device, dtype=dtype)


def rms_norm(dim: int, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.RMSNorm:
    return nn.RMSNorm(dim, eps=RMS_NORM_EPS, device=device, dtype=dtype)


def linear(inputs: int, outputs: int, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.Linear:
    """A projection without bias."""
    return nn.Linear(inputs, outputs, bias=False, device=device, dtype=dtype)


def deep_gain(depth: int) -> float:
    """MAGNETO's gain of weights in the residual branches: sqrt(log(2 depth)), decoder-only (its figure 2)."""
    return math.sqrt(math.log(2 * depth))


def draw(weight: Tensor, gains: tuple[float, ...], generator: Generator | None) -> None:
    """Xavier normal, in place; a fused projection is drawn a part at a time, each with its gain."""
    with torch.no_grad():
        for part, gain in zip(weight.chunk(len(gains)), gains, strict=True):
            nn.init.xavier_normal_(part, gain, generator)


class FeedForward(nn.Module):
    """fc2(norm(phi(fc1(norm x)))): sub-LN (Wang et al., 2022, arXiv:2210.06423, section 2.1).

    phi is GELU, or SwiGLU: silu of the first half times the second. x and the result are (batch, seq, dim).
    """

    def __init__(
        self, architecture: Architecture, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        dim, hidden = architecture.dim, architecture.hidden
        self._parts = 2 if architecture.feed_forward == "swiglu" else 1
        self._gain = deep_gain(architecture.depth)
        self.norm = layer_norm(dim, device, dtype)
        self.fc1 = linear(dim, self._parts * hidden, device, dtype)
        self.inner_norm = layer_norm(hidden, device, dtype)
        self.fc2 = linear(hidden, dim, device, dtype)

    def reset_parameters(self, generator: Generator | None = None) -> None:
        self.norm.reset_parameters()
        self.inner_norm.reset_parameters()
        draw(self.fc1.weight, (self._gain,) * self._parts, generator)
        draw(self.fc2.weight, (self._gain,), generator)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.fc1(self.norm(x))
        if self._parts == 2:
            gate, value = hidden.chunk(2, -1)
            hidden = functional.silu(gate) * value
        else:
            hidden = functional.gelu(hidden)
        out: Tensor = self.fc2(self.inner_norm(hidden))
        return out
