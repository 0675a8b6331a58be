"""The layers of unet.py: residual blocks with timestep injection, resampling, attention, the frequency layer."""

from typing import Literal, assert_never

import torch.nn.functional as F
from torch import Tensor, nn

from linnet.models.blocks import Dropout, GroupNorm, SelfAttention, skip_connection, zero
from linnet.models.convolutions import DoublingConv
from linnet.recipe import TDF, NoFrequencyLayer, UNet

Resample = Literal["none", "down", "up"]


class ResidualBlock(nn.Module):
    """[B, in_channels, H, W], embedding [B, embedding_dims] -> [B, out_channels, H', W'].

    Norm, SiLU, resampling, conv, timestep injection, norm, SiLU, dropout, zero-initialised conv, plus the resampled
    input; then the frequency layer. The timestep is added before the second norm ("shift": Ho et al. 2020), or scales
    and shifts the output of that norm ("scale_shift": AdaGN of Dhariwal & Nichol 2021, equation 6). Resampling inside
    the block is BigGAN's (Brock et al. 2019): average pooling or nearest neighbours, on the branch and on the skip.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        settings: UNet,
        *,
        embedding_dims: int,
        frequencies: int,
        resample: Resample = "none",
    ) -> None:
        super().__init__()
        self.resample = resample
        self.norm_in = GroupNorm(settings.norm_groups, in_channels)
        self.conv_in = (
            DoublingConv(in_channels, out_channels)
            if resample == "up"
            else nn.Conv2d(in_channels, out_channels, 3, padding=1)
        )
        match settings.timestep_injection:
            case "shift":
                self.to_shift = nn.Linear(embedding_dims, out_channels)
            case "scale_shift":
                self.to_scale_shift = nn.Linear(embedding_dims, 2 * out_channels)
            case _:
                assert_never(settings.timestep_injection)
        self.norm_out = GroupNorm(settings.norm_groups, out_channels)
        self.dropout = Dropout(settings.dropout)
        self.conv_out = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        zero(self.conv_out)
        self.skip = skip_connection(in_channels, out_channels)
        self.frequency_layer = _frequency_layer(settings, out_channels, frequencies)
        self.injection = settings.timestep_injection

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        hidden = F.silu(self.norm_in(x))
        hidden = self.conv_in(hidden if self.resample == "up" else resampled(hidden, self.resample))
        match self.injection:
            case "shift":
                hidden = self.norm_out(hidden + self.to_shift(embedding)[:, :, None, None])
            case "scale_shift":
                scale, shift = self.to_scale_shift(embedding)[:, :, None, None].chunk(2, dim=1)
                hidden = self.norm_out(hidden) * (1 + scale) + shift
            case _:
                assert_never(self.injection)
        hidden = self.conv_out(self.dropout(F.silu(hidden)))
        added: Tensor = self.frequency_layer(self.skip(resampled(x, self.resample)) + hidden)
        return added


def resampled(x: Tensor, resample: Resample) -> Tensor:
    """[B, C, H, W] with H and W kept, halved by averaging, or doubled by repeating."""
    match resample:
        case "none":
            return x
        case "down":
            return F.avg_pool2d(x, 2)
        case "up":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        case _:
            assert_never(resample)


class ResidualAttentionBlock(nn.Module):
    """A residual block with self-attention after it; without attention where `heads` is 0."""

    def __init__(self, residual: ResidualBlock, channels: int, heads: int, groups: int) -> None:
        super().__init__()
        self.residual, self.attention = residual, attention(channels, heads, groups)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        attended: Tensor = self.attention(self.residual(x, embedding))
        return attended


class Upsample(nn.Module):
    """Doubles height and width by repeating every pixel, then convolves."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = DoublingConv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        upsampled: Tensor = self.conv(x)
        return upsampled


class TDFLayer(nn.Module):
    """A time-distributed fully connected layer, x + W2 ReLU(norm(W1 x)): [B, C, frequencies, frames] -> the same.

    W1 and W2 act on the frequency axis and are shared over frames and channels, so that the number of frames is free.
    They have max(frequencies // bottleneck, min_units) hidden units and no biases. After Choi et al. (2020), section
    3.2.2, with three differences:

    - They end in ReLU(norm(W2 ...)). Zeroing W2 to start as the identity would then leave nothing to learn from: the
      ReLU's gradient at 0 is 0. Here W2 comes last, so the layer starts as the identity and W2 has a gradient.
    - They normalise over the batch, which mixes examples of different noise levels. Here it is over groups of channels
      of one example, without parameters.
    - They replace x; in a residual block the layer adds to it.
    """

    def __init__(self, settings: TDF, channels: int, *, frequencies: int, groups: int) -> None:
        super().__init__()
        hidden = max(frequencies // settings.bottleneck, settings.min_units)
        self.squeeze = nn.Linear(frequencies, hidden, bias=False)
        self.norm = GroupNorm(groups, channels, affine=False)
        self.expand = nn.Linear(hidden, frequencies, bias=False)
        zero(self.expand)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.norm(self.squeeze(x.transpose(-1, -2))))  # [B, C, frames, hidden]
        added: Tensor = x + self.expand(hidden).transpose(-1, -2)
        return added


def attention(channels: int, heads: int, groups: int) -> nn.Module:
    """Self-attention that starts as the identity; the identity itself where `heads` is 0."""
    if not heads:
        return nn.Identity()
    layer = SelfAttention(channels, heads=heads, head_channels=channels // heads, groups=groups, affine_norm=True)
    zero(layer.to_out)
    return layer


def _frequency_layer(settings: UNet, channels: int, frequencies: int) -> nn.Module:
    match settings.frequency_layer:
        case NoFrequencyLayer():
            return nn.Identity()
        case TDF():
            return TDFLayer(settings.frequency_layer, channels, frequencies=frequencies, groups=settings.norm_groups)
        case _:
            assert_never(settings.frequency_layer)
