"""The peer's networks: what diffusers' own layers make of the networks of linnet's recipes, layer for layer."""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DiTTransformer2DModel, UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from linnet.recipe import CompactUNet, DiffusionTransformer, TrainingRecipe, UNet

GROUPS = 8


def build_peer(recipe: TrainingRecipe) -> nn.Module:
    """A module (x_t, timesteps, labels) -> prediction."""
    size = recipe.data.shape[-1]
    match recipe.model:
        case CompactUNet() as model:
            return CompactPeer(model)
        case UNet() as model:
            return UNetPeer(model, size)
        case DiffusionTransformer() as model:
            return DiTPeer(model, recipe.data.shape)
        case _:
            raise AssertionError(recipe.model)


class CompactPeer(nn.Module):
    """The layout of linnet's compact U-Net, which diffusers does not have, from diffusers' residual blocks."""

    def __init__(self, model: CompactUNet) -> None:
        super().__init__()
        dims = model.embedding_dims
        self.time: Any = Timesteps(dims, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.embedding: Any = TimestepEmbedding(dims, dims)
        self.stem = nn.Conv2d(3, model.stem_channels, 1)
        *levels, bottom = zip(model.widths, model.attention_heads_by_level, strict=True)
        channels, skips = model.stem_channels, []
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for width, heads in levels:
            level = nn.ModuleList()
            for _ in range(model.blocks_per_level):
                level.append(_CompactBlock(channels, width, dims, heads))
                channels = width
                skips.append(width)
            self.down.append(level)
        self.bottom = nn.ModuleList()
        for _ in range(model.blocks_per_level):
            self.bottom.append(_CompactBlock(channels, bottom[0], dims, bottom[1]))
            channels = bottom[0]
        for width, heads in reversed(levels):
            level = nn.ModuleList()
            for _ in range(model.blocks_per_level):
                level.append(_CompactBlock(channels + skips.pop(), width, dims, heads))
                channels = width
            self.up.append(level)
        self.head = nn.Conv2d(channels, 3, 1)

    def forward(self, x: Tensor, timesteps: Tensor, labels: Tensor | None) -> Tensor:
        embedding = self.embedding(self.time(timesteps))
        x, skips = self.stem(x), []
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


class _CompactBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, dims: int, heads: int) -> None:
        super().__init__()
        self.residual: Any = ResnetBlock2D(
            in_channels=in_channels, out_channels=out_channels, temb_channels=dims, groups=GROUPS
        )
        self.attention: Any = None
        if heads:
            self.attention = Attention(
                out_channels, heads=heads, dim_head=out_channels, norm_num_groups=GROUPS, bias=True,
                residual_connection=True,
            )  # fmt: skip

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.residual(x, embedding)
        return x if self.attention is None else self.attention(x)


class UNetPeer(nn.Module):
    """UNet2DModel with the recipe's widths; "biggan" resampling is its "resnet" kind."""

    def __init__(self, model: UNet, size: int) -> None:
        super().__init__()
        heads = model.attention_heads_by_level
        kind = "resnet" if model.resampling == "biggan" else "conv"
        widths = [model.channels * multiplier for multiplier in model.channel_multipliers]
        self.unet: Any = UNet2DModel(  # type: ignore[no-untyped-call]
            sample_size=size,
            layers_per_block=model.blocks_per_level,
            block_out_channels=tuple(widths),
            down_block_types=tuple("AttnDownBlock2D" if count else "DownBlock2D" for count in heads),
            up_block_types=tuple("AttnUpBlock2D" if count else "UpBlock2D" for count in reversed(heads)),
            attention_head_dim=widths[-1] // model.middle_attention_heads,
            norm_num_groups=model.norm_groups,
            downsample_type=kind,
            upsample_type=kind,
            resnet_time_scale_shift="scale_shift" if model.timestep_injection == "scale_shift" else "default",
        )

    def forward(self, x: Tensor, timesteps: Tensor, labels: Tensor | None) -> Tensor:
        prediction: Tensor = self.unet(x, timesteps).sample
        return prediction


class DiTPeer(nn.Module):
    """DiTTransformer2DModel: the paper's layout, with an embedding of timestep and label in each block."""

    def __init__(self, model: DiffusionTransformer, shape: tuple[int, int, int]) -> None:
        super().__init__()
        assert shape[1] == shape[2], "diffusers' transformer takes squares"
        self.dit: Any = DiTTransformer2DModel(  # type: ignore[no-untyped-call]
            num_attention_heads=model.num_heads,
            attention_head_dim=model.width // model.num_heads,
            in_channels=shape[0],
            out_channels=shape[0],
            num_layers=model.num_blocks,
            sample_size=shape[1],
            patch_size=model.patch_size,
            num_embeds_ada_norm=200,
        )

    def forward(self, x: Tensor, timesteps: Tensor, labels: Tensor | None) -> Tensor:
        prediction: Tensor = self.dit(x, timestep=timesteps, class_labels=labels).sample
        return prediction
