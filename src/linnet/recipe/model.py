"""[model]: the network, one class for each file of models/."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from linnet.recipe.data import Shape
from linnet.recipe.section import OpenFraction, Section, same_length


class CompactUNet(Section):
    """The compact residual U-Net after Beres (2022), in its first or its later form; see models/compact_unet.py."""

    kind: Literal["compact_unet"]
    noise_injection: Literal["input", "every_block"]
    stem_channels: PositiveInt
    embedding_dims: Annotated[int, Field(ge=4, multiple_of=2)]
    widths: Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=2)]
    blocks_per_level: PositiveInt
    attention_heads_by_level: Annotated[tuple[NonNegativeInt, ...], Field(strict=False)]  # 0: no attention there

    @model_validator(mode="after")
    def _one_entry_per_level(self) -> Self:
        same_length("attention_heads_by_level", self.attention_heads_by_level, "widths", self.widths)
        heads = self.attention_heads_by_level
        everywhere = self.noise_injection == "every_block"
        grouped = [width for width, count in zip(self.widths, heads, strict=True) if everywhere or count]
        if bad := [width for width in grouped if width % 8]:
            raise ValueError(
                f"widths has {bad[0]}: the group norm of attention and of noise_injection = 'every_block' needs "
                "multiples of 8."
            )
        if everywhere and self.stem_channels % 8:
            raise ValueError(f"stem_channels = {self.stem_channels}: group norm needs a multiple of 8.")
        if everywhere and min(self.widths) == 8:
            raise ValueError(
                "widths has 8: with one channel a group, group norm would remove the noise level. Use 16 or more."
            )
        return self

    def check_shape(self, shape: Shape) -> None:
        """Raises ValueError where the network cannot take examples of `shape`."""
        _check_halvings(shape, len(self.widths))


class NoFrequencyLayer(Section):
    """Residual blocks have no frequency layer."""

    kind: Literal["none"]


class TDF(Section):
    """A time-distributed fully connected layer ends every residual block (Choi et al. 2020).

    Frequency is the height. The layer fixes the number of frequencies, not the number of frames.
    """

    kind: Literal["tdf"]
    bottleneck: PositiveInt  # hidden units are frequencies / bottleneck
    min_units: PositiveInt  # but at least these


class UNet(Section):
    """The U-Net of Ho et al. (2020), grown into that of Dhariwal & Nichol (2021); see models/unet.py."""

    kind: Literal["unet"]
    channels: Annotated[int, Field(ge=16, multiple_of=8)]
    channel_multipliers: Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=2)]
    blocks_per_level: PositiveInt
    attention_heads_by_level: Annotated[tuple[NonNegativeInt, ...], Field(strict=False)]
    middle_attention_heads: PositiveInt
    norm_groups: PositiveInt
    timestep_injection: Literal["shift", "scale_shift"]  # scale_shift: adaptive group norm
    resampling: Literal["conv", "biggan"]  # strided and nearest + convolution, or inside residual blocks
    frequency_layer: Annotated[NoFrequencyLayer | TDF, Field(discriminator="kind")]
    dropout: OpenFraction

    @model_validator(mode="after")
    def _widths_divide(self) -> Self:
        same_length(
            "attention_heads_by_level", self.attention_heads_by_level, "channel_multipliers", self.channel_multipliers
        )
        levels = [
            (self.channels * multiplier, heads)
            for multiplier, heads in zip(self.channel_multipliers, self.attention_heads_by_level, strict=True)
        ] + [(self.channels * self.channel_multipliers[-1], self.middle_attention_heads)]
        for width, heads in levels:
            if heads and width % heads:
                raise ValueError(f"{heads} attention heads do not divide a level of {width} channels.")
            if width % self.norm_groups:
                raise ValueError(f"norm_groups = {self.norm_groups} does not divide a level of {width} channels.")
        if self.channels % self.norm_groups or self.channels == self.norm_groups:
            raise ValueError(
                f"norm_groups = {self.norm_groups} must divide channels = {self.channels} and be less: with one "
                "channel a group, group norm would remove the timestep."
            )
        return self

    def check_shape(self, shape: Shape) -> None:
        """Raises ValueError where the network cannot take examples of `shape`."""
        _check_halvings(shape, len(self.channel_multipliers))


class DiffusionTransformer(Section):
    """A transformer over patches with adaLN-zero (Peebles & Xie 2023); see models/dit.py."""

    kind: Literal["dit"]
    patch_size: PositiveInt  # height and width of a patch
    patch_overlap: NonNegativeInt  # by how much a patch reaches into its neighbours on each side
    width: Annotated[int, Field(ge=8, multiple_of=2)]
    num_blocks: PositiveInt
    num_heads: PositiveInt
    mlp_ratio: PositiveInt
    dropout: OpenFraction

    @model_validator(mode="after")
    def _patches_overlap_next_ones(self) -> Self:
        if self.patch_overlap > self.patch_size:
            raise ValueError(
                f"patch_overlap = {self.patch_overlap} reaches beyond the next patch; patch_size = "
                f"{self.patch_size} is the most."
            )
        return self

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.width % self.num_heads:
            raise ValueError(f"num_heads = {self.num_heads} does not divide width = {self.width}.")
        return self

    def check_shape(self, shape: Shape) -> None:
        """Any height and width will do: the network pads to whole patches."""


ModelSection = Annotated[CompactUNet | UNet | DiffusionTransformer, Field(discriminator="kind")]


def _check_halvings(shape: Shape, levels: int) -> None:
    for side in shape[1:]:
        if side % 2 ** (levels - 1):
            raise ValueError(
                f"[data] makes examples of {shape[1]} x {shape[2]}, and {side} cannot be halved {levels - 1} times, as "
                f"the {levels} levels of [model] do. Use multiples of {2 ** (levels - 1)} or fewer levels."
            )
