"""Parts that several networks share."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_PERIOD = 10_000.0


class SinusoidalEmbedding(nn.Module):
    """[B] -> [B, dims]: sine and cosine of `values * angular_speeds` (Vaswani et al. 2017), computed in float32."""

    angular_speeds: Tensor

    def __init__(self, angular_speeds: Tensor) -> None:
        super().__init__()
        self.register_buffer("angular_speeds", angular_speeds.float(), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        angles = values.float()[:, None] * self.angular_speeds
        return torch.cat([angles.sin(), angles.cos()], dim=1)


def geometric_speeds(dims: int, *, lowest_hz: float, highest_hz: float) -> Tensor:
    """[dims // 2] angular speeds 2 pi f, with f spaced geometrically from lowest to highest (Beres 2022)."""
    return 2 * math.pi * torch.logspace(math.log10(lowest_hz), math.log10(highest_hz), dims // 2, dtype=torch.float64)


def timestep_speeds(dims: int) -> Tensor:
    """[dims // 2] angular speeds 10,000^(-2i / dims) (Vaswani et al. 2017, section 3.5).

    In float32, as the published guided-diffusion network computes them: at timestep 4,000 the difference would show.
    """
    half = dims // 2
    return torch.exp(-math.log(MAX_PERIOD) * torch.arange(half, dtype=torch.float32) / half)


class SelfAttention(nn.Module):
    """Residual multi-head self-attention over all positions: [B, C, H, W] -> the same.

    `head_channels` may differ from `channels / heads`: Beres (2022) gives each head the full width.
    """

    def __init__(self, channels: int, *, heads: int, head_channels: int, groups: int, affine_norm: bool) -> None:
        super().__init__()
        self.heads, self.head_channels = heads, head_channels
        self.norm = nn.GroupNorm(groups, channels, affine=affine_norm)
        self.to_qkv = nn.Conv2d(channels, 3 * heads * head_channels, kernel_size=1)
        self.to_out = nn.Conv2d(heads * head_channels, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        qkv = self.to_qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, self.head_channels)).transpose(-1, -2)
        query, key, value = qkv.unbind(dim=1)  # each [B, heads, positions, head_channels]
        mixed = F.scaled_dot_product_attention(query, key, value)
        mixed = mixed.transpose(-1, -2).reshape(batch, -1, height, width)
        added: Tensor = x + self.to_out(mixed)
        return added


class TokenAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017): [B, tokens, width] -> the same, without norm or residual.

    `seen` [B, tokens] says which tokens may be looked at, at least one in every row: a softmax over none is NaN.
    """

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * width)
        self.to_out = nn.Linear(width, width)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        qkv = self.to_qkv(x).unflatten(-1, (3, self.heads, -1)).transpose(1, 3)  # [B, heads, 3, tokens, width / heads]
        query, key, value = qkv.unbind(dim=2)
        mask = None if seen is None else seen[:, None, None, :]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
        return out


def feed_forward(width: int, hidden: int) -> nn.Sequential:
    """The transformer's second half: [..., width] -> the same."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))


def zero(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> None:
    """Zero the layer, so that its residual branch starts as the identity."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
