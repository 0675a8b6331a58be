"""The compact residual U-Net of Beres, in two forms that `noise_injection` chooses between.

- "input" is the first form (Keras example "Denoising Diffusion Implicit Models", 2022): the embedded noise variance is
  concatenated with the input, and blocks have batch norm without affine parameters.
- "every_block" is the later form (clear-diffusion-keras): the embedding passes a two-layer MLP and is added in every
  block, and blocks have group norm.

In both, the output of every residual block on the way down is a skip connection.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linnet.models.blocks import GroupNorm, SelfAttention, SinusoidalEmbedding, geometric_speeds, skip_connection, zero
from linnet.models.conditioning import build_condition_embedding
from linnet.models.convolutions import PointwiseConv
from linnet.models.denoising_network import DenoisingNetwork
from linnet.recipe import CompactUNet as Settings
from linnet.recipe import Conditioning, NoiseLevel, Shape

LOWEST_HZ, HIGHEST_HZ = 1.0, 1000.0
GROUPS = 8


class CompactUNet(DenoisingNetwork):
    """Takes the noise variance; the height and width of examples must be divisible by 2**(levels - 1)."""

    noise_level: NoiseLevel = "noise_variance"

    def __init__(self, settings: Settings, *, shape: Shape, conditioning: Conditioning) -> None:
        super().__init__()
        dims = settings.embedding_dims
        self.noise_embedding = SinusoidalEmbedding(geometric_speeds(dims, lowest_hz=LOWEST_HZ, highest_hz=HIGHEST_HZ))
        # Stored models have this name; it is older than conditions other than labels.
        self.label_embedding = build_condition_embedding(conditioning, dims)
        self.stem = PointwiseConv(shape[0], settings.stem_channels)
        self.at_input = settings.noise_injection == "input"
        self.embedding_mlp = None
        if not self.at_input:
            self.embedding_mlp = nn.Sequential(nn.Linear(dims, dims), nn.SiLU(), nn.Linear(dims, dims), nn.SiLU())

        def block(in_channels: int, out_channels: int, heads: int) -> _Block:
            return _Block(in_channels, out_channels, embedding_dims=0 if self.at_input else dims, heads=heads)

        channels = settings.stem_channels + (dims if self.at_input else 0)
        *levels, (bottom_width, bottom_heads) = zip(settings.widths, settings.attention_heads_by_level, strict=True)
        depth = settings.blocks_per_level
        skips: list[int] = []
        self.down = nn.ModuleList()
        for width, heads in levels:
            self.down.append(nn.ModuleList(block(channels if i == 0 else width, width, heads) for i in range(depth)))
            channels = width
            skips += [width] * depth
        self.bottom = nn.ModuleList(
            block(channels if i == 0 else bottom_width, bottom_width, bottom_heads) for i in range(depth)
        )
        channels = bottom_width
        self.up = nn.ModuleList()
        for width, heads in reversed(levels):
            level = nn.ModuleList()
            for _ in range(depth):
                level.append(block(channels + skips.pop(), width, heads))
                channels = width
            self.up.append(level)
        self.head = PointwiseConv(channels, shape[0])
        zero(self.head)

    def forward(self, x_t: Tensor, noise_level: Tensor, condition: Tensor | None) -> Tensor:
        embedding = self.noise_embedding(noise_level)
        if self.label_embedding is not None:
            embedding = embedding + self.label_embedding(condition, like=x_t)
        x = self.stem(x_t)
        if self.embedding_mlp is not None:
            embedding = self.embedding_mlp(embedding)
        else:
            x = torch.cat([x, embedding.to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])], dim=1)
        skips = []
        for level in self.down:
            for block in level:  # type: ignore[attr-defined]
                x = block(x, embedding)
                skips.append(x)
            x = F.avg_pool2d(x, 2)
        for block in self.bottom:
            x = block(x, embedding)
        for level in self.up:
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
            for block in level:  # type: ignore[attr-defined]
                x = block(torch.cat([x, skips.pop()], dim=1), embedding)
        prediction: Tensor = self.head(x)
        return prediction


class _Block(nn.Module):
    """A residual block: of the first form where `embedding_dims` is 0, else of the later form."""

    def __init__(self, in_channels: int, out_channels: int, *, embedding_dims: int, heads: int) -> None:
        super().__init__()
        self.skip = skip_connection(in_channels, out_channels)
        self.convs = nn.ModuleList(
            [nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.Conv2d(out_channels, out_channels, 3, padding=1)]
        )
        self.to_shift = nn.Linear(embedding_dims, out_channels) if embedding_dims else None
        if embedding_dims:
            self.norms = nn.ModuleList([GroupNorm(GROUPS, in_channels), GroupNorm(GROUPS, out_channels)])
        else:
            self.norms = nn.ModuleList([nn.BatchNorm2d(in_channels, affine=False, eps=1e-3, momentum=0.01)])
        self.attention = (
            SelfAttention(out_channels, heads=heads, head_channels=out_channels, groups=GROUPS, affine_norm=False)
            if heads
            else nn.Identity()
        )

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        residual = self.skip(x)
        if self.to_shift is None:
            x = self.convs[1](F.silu(self.convs[0](self.norms[0](x))))
        else:
            x = self.convs[0](F.silu(self.norms[0](x))) + self.to_shift(embedding)[:, :, None, None]
            x = self.convs[1](F.silu(self.norms[1](x)))
        attended: Tensor = self.attention(residual + x)
        return attended
