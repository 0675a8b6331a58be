"""The U-Net of Ho et al. (2020), grown into the guided-diffusion U-Net of Dhariwal & Nichol (2021).

The layout is the published network's: skip connections from the stem, every residual block and every downsampling; a
middle of block, attention, block; one block more per level on the way up, and an upsampling at the end of a level.
Given the same weights (published_weights.py) it computes what the published network computes. `timestep_injection`,
`resampling`, `norm_groups` and `frequency_layer` choose between the two papers' blocks (unet_blocks.py).
"""

from typing import assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linnet.models.blocks import GroupNorm, SinusoidalEmbedding, timestep_speeds, zero
from linnet.models.conditioning import build_condition_embedding
from linnet.models.denoising_network import DenoisingNetwork
from linnet.models.unet_blocks import Resample, ResidualAttentionBlock, ResidualBlock, Upsample
from linnet.recipe import Conditioning, NoiseLevel, Shape
from linnet.recipe import UNet as Settings


class UNet(DenoisingNetwork):
    """Takes the timestep; the height and width of examples must be divisible by 2**(levels - 1).

    With a frequency layer the height must be that of a training example; the width is always free.
    """

    noise_level: NoiseLevel = "timestep"

    def __init__(self, settings: Settings, *, shape: Shape, conditioning: Conditioning) -> None:
        super().__init__()
        self._settings, self._dims, self._height = settings, 4 * settings.channels, shape[1]
        widths = [settings.channels * multiplier for multiplier in settings.channel_multipliers]
        self.timestep_embedding = SinusoidalEmbedding(timestep_speeds(settings.channels))
        self.embedding_mlp = nn.Sequential(
            nn.Linear(settings.channels, self._dims), nn.SiLU(), nn.Linear(self._dims, self._dims)
        )
        # Stored models have this name; it is older than conditions other than labels.
        self.label_embedding = build_condition_embedding(conditioning, self._dims)
        self.stem = nn.Conv2d(shape[0], widths[0], 3, padding=1)
        self.down, skips = self._build_down(widths)
        self.middle = nn.ModuleList(
            [
                self._block(widths[-1], widths[-1], len(widths) - 1, heads=settings.middle_attention_heads),
                self._block(widths[-1], widths[-1], len(widths) - 1, heads=0),
            ]
        )
        self.up = self._build_up(widths, skips)
        head = nn.Conv2d(widths[0], shape[0], 3, padding=1)
        zero(head)
        self.head = nn.Sequential(GroupNorm(settings.norm_groups, widths[0]), nn.SiLU(), head)

    def forward(self, x_t: Tensor, noise_level: Tensor, condition: Tensor | None) -> Tensor:
        embedding = self.embedding_mlp(self.timestep_embedding(noise_level))
        if self.label_embedding is not None:
            embedding = embedding + self.label_embedding(condition, like=x_t)
        embedding = F.silu(embedding)
        x = self.stem(x_t)
        skips = [x]
        for layer in self.down:
            x = layer(x, embedding) if isinstance(layer, ResidualAttentionBlock | ResidualBlock) else layer(x)
            skips.append(x)
        for layer in self.middle:
            x = layer(x, embedding)
        for layer in self.up:
            match layer:
                case ResidualAttentionBlock():
                    x = layer(torch.cat([x, skips.pop()], dim=1), embedding)
                case ResidualBlock():
                    x = layer(x, embedding)
                case _:
                    x = layer(x)
        prediction: Tensor = self.head(x)
        return prediction

    def _build_down(self, widths: list[int]) -> tuple[nn.ModuleList, list[int]]:
        """The layers of the way down, and the channels of the skips from the stem and from each of them."""
        layers, skips = nn.ModuleList(), [widths[0]]
        for index, width in enumerate(widths):
            for _ in range(self._settings.blocks_per_level):
                heads = self._settings.attention_heads_by_level[index]
                layers.append(self._block(skips[-1], width, index, heads=heads))
                skips.append(width)
            if index < len(widths) - 1:
                match self._settings.resampling:
                    case "conv":
                        layers.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                    case "biggan":
                        layers.append(self._residual(width, width, index + 1, resample="down"))
                    case _:
                        assert_never(self._settings.resampling)
                skips.append(width)
        return layers, skips

    def _build_up(self, widths: list[int], skips: list[int]) -> nn.ModuleList:
        layers, channels = nn.ModuleList(), widths[-1]
        for index, width in reversed(list(enumerate(widths))):
            for _ in range(self._settings.blocks_per_level + 1):
                heads = self._settings.attention_heads_by_level[index]
                layers.append(self._block(channels + skips.pop(), width, index, heads=heads))
                channels = width
            if index > 0:
                match self._settings.resampling:
                    case "conv":
                        layers.append(Upsample(width))
                    case "biggan":
                        layers.append(self._residual(width, width, index - 1, resample="up"))
                    case _:
                        assert_never(self._settings.resampling)
        return layers

    def _block(self, in_channels: int, out_channels: int, level: int, *, heads: int) -> ResidualAttentionBlock:
        residual = self._residual(in_channels, out_channels, level, resample="none")
        return ResidualAttentionBlock(residual, out_channels, heads, self._settings.norm_groups)

    def _residual(self, in_channels: int, out_channels: int, level: int, *, resample: Resample) -> ResidualBlock:
        """A residual block whose output is on `level`, counted from 0 at the full resolution."""
        return ResidualBlock(
            in_channels,
            out_channels,
            self._settings,
            embedding_dims=self._dims,
            frequencies=self._height >> level,
            resample=resample,
        )
