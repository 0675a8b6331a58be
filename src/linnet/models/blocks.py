"""Parts that several networks share."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 8


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


class LabelEmbedding(nn.Module):
    """[B] class labels -> [B, dims]; one more row than there are classes, for "no class"."""

    def __init__(self, num_classes: int, dims: int) -> None:
        super().__init__()
        self.no_class = num_classes
        self.table = nn.Embedding(num_classes + 1, dims)

    def forward(self, labels: Tensor | None, like: Tensor) -> Tensor:
        if labels is None:
            labels = torch.full((len(like),), self.no_class, device=like.device)
        embedded: Tensor = self.table(labels)
        return embedded


class SelfAttention(nn.Module):
    """Residual multi-head self-attention over all positions: [B, C, H, W] -> the same.

    `head_channels` may differ from `channels / heads`: Beres (2022) gives each head the full width.
    """

    def __init__(self, channels: int, *, heads: int, head_channels: int, affine_norm: bool) -> None:
        super().__init__()
        self.heads, self.head_channels = heads, head_channels
        self.norm = nn.GroupNorm(GROUPS, channels, affine=affine_norm)
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
