"""Layers that several networks share."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linnet.models.attention import attend
from linnet.models.convolutions import PointwiseConv

MAX_PERIOD = 10_000.0


class SinusoidalEmbedding(nn.Module):
    """Sine and cosine of `values * angular_speeds`, computed in float32: [B] -> [B, dims] (Vaswani et al. 2017)."""

    angular_speeds: Tensor

    def __init__(self, angular_speeds: Tensor) -> None:
        super().__init__()
        self.register_buffer("angular_speeds", angular_speeds.float(), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        angles = values.float()[:, None] * self.angular_speeds
        return torch.cat([angles.sin(), angles.cos()], dim=1)


def geometric_speeds(dims: int, *, lowest_hz: float, highest_hz: float) -> Tensor:
    """Angular speeds 2 pi f, float64 [dims // 2], with f spaced geometrically from lowest to highest (Beres 2022)."""
    return 2 * math.pi * torch.logspace(math.log10(lowest_hz), math.log10(highest_hz), dims // 2, dtype=torch.float64)


def timestep_speeds(dims: int) -> Tensor:
    """Angular speeds 10,000^(-2i / dims), float32 [dims // 2] (Vaswani et al. 2017, section 3.5).

    The published guided-diffusion network computes them in float32; at timestep 4,000 float64 would make a difference.
    """
    half = dims // 2
    return torch.exp(-math.log(MAX_PERIOD) * torch.arange(half, dtype=torch.float32) / half)


class GroupNorm(nn.GroupNorm):
    """Group norm (Wu & He 2018) whose result has the type of its input; statistics are float32 in any case.

    On GPUs autocast would make the result float32, twice the bytes for every layer after it to read.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cuda":
            return super().forward(x)
        with torch.autocast("cuda", enabled=False):
            weight, bias = (None if p is None else p.to(x.dtype) for p in (self.weight, self.bias))
            return F.group_norm(x, self.num_groups, weight, bias, self.eps)


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) whose mask of an example does not depend on how a batch is divided.

    A rank, or a pass over some of its rows, draws the mask of the whole batch and takes what is its own; a mask is
    cheap beside the convolution after it.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.part, self.num_parts = 0, 1  # equal parts of a batch, in the order of its rows

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.probability:
            return x
        keep, count = 1 - self.probability, len(x)
        whole = torch.empty(self.num_parts * count, *x.shape[1:], dtype=x.dtype, device=x.device).bernoulli_(keep)
        return x * whole[self.part * count : (self.part + 1) * count] / keep


class SelfAttention(nn.Module):
    """Residual multi-head self-attention over all positions: [B, C, H, W] -> the same.

    `head_channels` may differ from `channels / heads`: Beres (2022) gives each head the full width.
    """

    def __init__(self, channels: int, *, heads: int, head_channels: int, groups: int, affine_norm: bool) -> None:
        super().__init__()
        self.heads, self.head_channels = heads, head_channels
        self.norm = GroupNorm(groups, channels, affine=affine_norm)
        self.to_qkv = PointwiseConv(channels, 3 * heads * head_channels)
        self.to_out = PointwiseConv(heads * head_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        qkv = self.to_qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, self.head_channels)).transpose(-1, -2)
        query, key, value = qkv.unbind(dim=1)  # each [B, heads, positions, head_channels]
        mixed = attend(query, key, value)
        mixed = mixed.transpose(-1, -2).reshape(batch, -1, height, width)
        added: Tensor = x + self.to_out(mixed)
        return added


class TokenAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017): [B, tokens, width] -> the same, without norm or residual.

    `mask` [B, tokens] is True for tokens to attend to, at least one in every row: a softmax over none is NaN.
    """

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * width)
        self.to_out = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        qkv = self.to_qkv(x).unflatten(-1, (3, self.heads, -1)).transpose(1, 3)  # [B, heads, 3, tokens, width / heads]
        query, key, value = qkv.unbind(dim=2)
        attn_mask = None if mask is None else mask[:, None, None, :]
        mixed = attend(query, key, value, attn_mask)
        out: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
        return out


def feed_forward(width: int, hidden: int) -> nn.Sequential:
    """The transformer's second half: [..., width] -> the same."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))


def skip_connection(in_channels: int, out_channels: int) -> nn.Module:
    """The identity, or a 1 x 1 convolution where the number of channels changes."""
    return PointwiseConv(in_channels, out_channels) if in_channels != out_channels else nn.Identity()


def zero(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> None:
    """Zero the layer, so that its residual branch starts as the identity."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
