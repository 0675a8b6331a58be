"""The U-Net of Ho et al. (2020): the timestep enters every residual block, self-attention at chosen levels.

Layout after their appendix B and the guided-diffusion family: a skip from the stem, every residual block and every
downsampling; a middle of block, attention, block; one block more per level on the way up.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linnet.models import NoiseLevel
from linnet.models.blocks import LabelEmbedding, SelfAttention, SinusoidalEmbedding
from linnet.recipe import UNet as Settings

MAX_PERIOD = 10_000.0
NORM_GROUPS = 8


class UNet(nn.Module):
    """[B, C, H, W], timestep [B], labels [B] or None -> [B, C, H, W]; H and W divisible by 2**(levels - 1)."""

    noise_level: NoiseLevel = "timestep"

    def __init__(self, settings: Settings, *, image_channels: int, num_classes: int) -> None:
        super().__init__()
        base = settings.channels
        dims = 4 * base
        exponents = torch.arange(base // 2, dtype=torch.float64) / (base // 2)
        self.timestep_embedding = SinusoidalEmbedding(torch.exp(-math.log(MAX_PERIOD) * exponents))
        self.embedding_mlp = nn.Sequential(nn.Linear(base, dims), nn.SiLU(), nn.Linear(dims, dims))
        self.label_embedding = LabelEmbedding(num_classes, dims) if num_classes else None
        self.stem = nn.Conv2d(image_channels, base, 3, padding=1)

        def block(into: int, out: int, heads: int) -> nn.Module:
            return _Level(_ResidualBlock(into, out, dims, settings.dropout), _attention(out, heads))

        widths = [base * multiplier for multiplier in settings.channel_multipliers]
        levels = list(zip(widths, settings.attention_heads_by_level, strict=True))
        channels, skips = base, [base]
        self.down = nn.ModuleList()
        for index, (width, heads) in enumerate(levels):
            for _ in range(settings.blocks_per_level):
                self.down.append(block(channels, width, heads))
                channels = width
                skips.append(channels)
            if index < len(levels) - 1:
                self.down.append(nn.Conv2d(channels, channels, 3, stride=2, padding=1))
                skips.append(channels)
        self.middle = nn.ModuleList(
            [block(channels, channels, settings.middle_attention_heads), block(channels, channels, 0)]
        )
        self.up = nn.ModuleList()
        for index, (width, heads) in reversed(list(enumerate(levels))):
            for _ in range(settings.blocks_per_level + 1):
                self.up.append(block(channels + skips.pop(), width, heads))
                channels = width
            if index > 0:
                self.up.append(_Upsample(channels))
        self.head = nn.Sequential(
            nn.GroupNorm(NORM_GROUPS, channels), nn.SiLU(), _zeroed(nn.Conv2d(channels, image_channels, 3, padding=1))
        )

    def forward(self, x: Tensor, timestep: Tensor, labels: Tensor | None) -> Tensor:
        embedding = self.embedding_mlp(self.timestep_embedding(timestep))
        if self.label_embedding is not None:
            embedding = embedding + self.label_embedding(labels, like=x)
        embedding = F.silu(embedding)
        x = self.stem(x)
        skips = [x]
        for part in self.down:
            x = part(x, embedding) if isinstance(part, _Level) else part(x)
            skips.append(x)
        for part in self.middle:
            x = part(x, embedding)
        for part in self.up:
            x = part(torch.cat([x, skips.pop()], dim=1), embedding) if isinstance(part, _Level) else part(x)
        prediction: Tensor = self.head(x)
        return prediction


class _Level(nn.Module):
    def __init__(self, residual: nn.Module, attention: nn.Module) -> None:
        super().__init__()
        self.residual, self.attention = residual, attention

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        attended: Tensor = self.attention(self.residual(x, embedding))
        return attended


class _ResidualBlock(nn.Module):
    """Norm, SiLU, conv, plus embedding, norm, SiLU, dropout, zero-initialised conv, plus skip."""

    def __init__(self, into: int, out: int, embedding_dims: int, dropout: float) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(NORM_GROUPS, into)
        self.conv_in = nn.Conv2d(into, out, 3, padding=1)
        self.to_shift = nn.Linear(embedding_dims, out)
        self.norm_out = nn.GroupNorm(NORM_GROUPS, out)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = _zeroed(nn.Conv2d(out, out, 3, padding=1))
        self.skip = nn.Conv2d(into, out, kernel_size=1) if into != out else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        hidden = self.conv_in(F.silu(self.norm_in(x))) + self.to_shift(embedding)[:, :, None, None]
        hidden = self.conv_out(self.dropout(F.silu(self.norm_out(hidden))))
        added: Tensor = self.skip(x) + hidden
        return added


class _Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        grown: Tensor = self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
        return grown


def _attention(channels: int, heads: int) -> nn.Module:
    if not heads:
        return nn.Identity()
    attention = SelfAttention(channels, heads=heads, head_channels=channels // heads, affine_norm=True)
    _zeroed(attention.to_out)
    return attention


def _zeroed(layer: Any) -> Any:
    """Zero the layer, so that its residual branch starts as the identity."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
