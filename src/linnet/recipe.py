"""The recipe: every number that changes a result, in one strict TOML file.

The schema has no defaults: a recipe says everything, so a reader (and DVC) sees everything. Where a run happens
(devices, folders, servers) is no part of it. Imports no torch, so that `linnet check` answers at once.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A table of the recipe: read-only, exact keys, exact types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


# --- data -------------------------------------------------------------------------------------------------------------


class SeededSplit(Section):
    """A random split that depends on nothing but the seed and the list of images."""

    kind: Literal["seeded"]
    train_fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: NonNegativeInt


class OfficialSplit(Section):
    """The data set's own train/test split."""

    kind: Literal["official"]


Split = Annotated[SeededSplit | OfficialSplit, Field(discriminator="kind")]


class CaltechBirds(Section):
    """Pictures of birds cropped by their bounding boxes (Caltech-UCSD Birds-200-2011 layout)."""

    kind: Literal["caltech_birds"]
    folder: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]  # below data/
    image_size_pixels: Annotated[int, Field(ge=8, le=1024, multiple_of=8)]
    split: Split
    max_rejected_fraction: Fraction  # of all listed images; beyond it preprocess fails


DataSection = CaltechBirds  # a second data kind makes this a union discriminated by `kind`


# --- model ------------------------------------------------------------------------------------------------------------


class CompactUNet(Section):
    """The compact residual U-Net after Beres (2022), in its first and its later form; see models/compact_unet.py."""

    kind: Literal["compact_unet"]
    noise_injection: Literal["input", "every_block"]
    stem_channels: PositiveInt
    embedding_dims: Annotated[int, Field(ge=4, multiple_of=2)]
    widths: Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=2)]
    blocks_per_level: PositiveInt
    attention_heads_by_level: Annotated[tuple[NonNegativeInt, ...], Field(strict=False)]  # 0: no attention there

    @model_validator(mode="after")
    def _one_entry_per_level(self) -> Self:
        _same_length("attention_heads_by_level", self.attention_heads_by_level, "widths", self.widths)
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


class UNet(Section):
    """The U-Net of Ho et al. (2020): timestep into every block, self-attention; see models/unet.py."""

    kind: Literal["unet"]
    channels: Annotated[int, Field(ge=16, multiple_of=8)]  # 8 would leave group norm one channel a group
    channel_multipliers: Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=2)]
    blocks_per_level: PositiveInt
    attention_heads_by_level: Annotated[tuple[NonNegativeInt, ...], Field(strict=False)]
    middle_attention_heads: PositiveInt
    dropout: OpenFraction

    @model_validator(mode="after")
    def _one_entry_per_level(self) -> Self:
        _same_length(
            "attention_heads_by_level", self.attention_heads_by_level, "channel_multipliers", self.channel_multipliers
        )
        levels = [
            (self.channels * multiplier, heads)
            for multiplier, heads in zip(self.channel_multipliers, self.attention_heads_by_level, strict=True)
        ] + [(self.channels * self.channel_multipliers[-1], self.middle_attention_heads)]
        for width, heads in levels:
            if heads and width % heads:
                raise ValueError(f"{heads} attention heads do not divide a level of {width} channels.")
        return self


ModelSection = Annotated[CompactUNet | UNet, Field(discriminator="kind")]


class Unconditional(Section):
    """The model sees nothing but the noisy picture."""

    kind: Literal["none"]


class ClassLabel(Section):
    """The model sees the class, dropped at times in training for classifier-free guidance (Ho & Salimans 2022)."""

    kind: Literal["class_label"]
    num_classes: PositiveInt
    dropout: OpenFraction


Conditioning = Annotated[Unconditional | ClassLabel, Field(discriminator="kind")]


# --- diffusion --------------------------------------------------------------------------------------------------------


class LinearSchedule(Section):
    """Noise variances grow linearly (Ho et al. 2020)."""

    kind: Literal["linear"]
    num_timesteps: Annotated[int, Field(ge=2)]
    beta_start: Annotated[float, Field(gt=0, lt=1)]
    beta_end: Annotated[float, Field(gt=0, lt=1)]


class CosineSchedule(Section):
    """The squared cosine signal level (Nichol & Dhariwal 2021, eq. 17)."""

    kind: Literal["cosine"]
    num_timesteps: Annotated[int, Field(ge=2)]
    offset: NonNegativeFloat  # their s


class DiffusionSection(Section):
    """The forward process and what the network learns to predict."""

    schedule: Annotated[LinearSchedule | CosineSchedule, Field(discriminator="kind")]
    prediction: Literal["epsilon", "x0", "v"]
    loss: Literal["mse", "mae"]


# --- train ------------------------------------------------------------------------------------------------------------


class Adam(Section):
    """Adam (Kingma & Ba 2015)."""

    kind: Literal["adam"]
    beta1: OpenFraction
    beta2: OpenFraction


class AdamW(Section):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    kind: Literal["adamw"]
    beta1: OpenFraction
    beta2: OpenFraction
    weight_decay: NonNegativeFloat


Precision = Literal["fp32", "bf16", "fp16"]


class TrainSection(Section):
    """How long and how fast."""

    duration_kexamples: PositiveFloat  # thousands of training examples, whatever the batch size
    batch_size: PositiveInt  # examples per optimizer step, over all ranks
    learning_rate: PositiveFloat  # peak value, reached after warmup
    warmup_kexamples: NonNegativeFloat
    optimizer: Annotated[Adam | AdamW, Field(discriminator="kind")]
    max_gradient_norm: PositiveFloat
    ema_decay: OpenFraction  # of the averaged weights, per step
    horizontal_flip: bool
    precision: Precision
    seed: NonNegativeInt
    log_every_steps: PositiveInt
    grid_every_kexamples: PositiveFloat  # a picture of EMA samples

    @model_validator(mode="after")
    def _peak_is_reached(self) -> Self:
        if self.warmup_kexamples >= self.duration_kexamples:
            raise ValueError(
                f"warmup_kexamples is {self.warmup_kexamples:g}, the whole run only duration_kexamples = "
                f"{self.duration_kexamples:g}: the peak rate is never reached. Lower the warmup or lengthen the run."
            )
        if self.num_steps < 1:
            raise ValueError(
                f"duration_kexamples = {self.duration_kexamples:g} is less than one batch of {self.batch_size}. "
                "Lengthen the run or lower batch_size."
            )
        return self

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return round(self.duration_kexamples * 1000 / self.batch_size)

    def steps_for(self, kexamples: float) -> int:
        """`kexamples` thousand examples in optimizer steps, at least one."""
        return max(1, round(kexamples * 1000 / self.batch_size))


# --- sample, evaluate, register ---------------------------------------------------------------------------------------


class DDPM(Section):
    """Ancestral sampling (Ho et al. 2020, algorithm 2)."""

    kind: Literal["ddpm"]
    num_steps: PositiveInt


class DDIM(Section):
    """Implicit sampling (Song et al. 2021); eta = 1 has the noise of DDPM, eta = 0 none."""

    kind: Literal["ddim"]
    num_steps: PositiveInt
    eta: Fraction


class DPMSolver(Section):
    """DPM-Solver++(2M), a second-order multistep solver (Lu et al. 2022)."""

    kind: Literal["dpm_solver_pp_2m"]
    num_steps: PositiveInt


SamplerSection = Annotated[DDPM | DDIM | DPMSolver, Field(discriminator="kind")]


class SampleSection(Section):
    """What to draw from the trained model."""

    sampler: SamplerSection
    num_samples: PositiveInt
    num_files: NonNegativeInt  # how many of them also become single PNG files
    seed: NonNegativeInt
    weights: Literal["ema", "raw"]
    guidance_scale: NonNegativeFloat  # 1: as trained; above 1 pulls towards the class
    clip_x0: bool  # keep each prediction inside the range of real pixels
    precision: Precision

    @model_validator(mode="after")
    def _files_exist(self) -> Self:
        if self.num_files > self.num_samples:
            raise ValueError(f"num_files = {self.num_files} is more than num_samples = {self.num_samples}.")
        return self


Features = Literal["inception", "thumbnail", "texture"]


class EvaluateSection(Section):
    """How the samples are compared with real pictures."""

    features: Annotated[tuple[Features, ...], Field(strict=False, min_length=1)]
    reference_split: Literal["train", "test"]
    kernel_subsets: PositiveInt
    kernel_subset_size: Annotated[int, Field(ge=2)]
    seed: NonNegativeInt


class GateSection(Section):
    """When a new version becomes the champion."""

    metric: str  # a key of metrics.json, such as "frechet_thumbnail"; lower is better
    max_ratio_to_noise: PositiveFloat  # of the distance that pure noise has
    min_improvement: OpenFraction  # over the champion, as a fraction of its score
    when_incomparable: Literal["promote", "keep"]  # the champion was measured on other data or by another protocol


class RegisterSection(Section):
    """Where the model goes in the registry."""

    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    gate: GateSection


class TrainingRecipe(Section):
    """The sections that make a model: what is stored beside its weights."""

    data: DataSection
    model: ModelSection
    conditioning: Conditioning
    diffusion: DiffusionSection
    train: TrainSection


class Recipe(TrainingRecipe):
    """A whole recipe."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    sample: SampleSection
    evaluate: EvaluateSection
    register_: Annotated[RegisterSection, Field(alias="register")]

    @model_validator(mode="after")
    def _sections_fit_together(self) -> Self:
        levels = len(self.model.widths if isinstance(self.model, CompactUNet) else self.model.channel_multipliers)
        if self.data.image_size_pixels % 2 ** (levels - 1):
            raise ValueError(
                f"[data] image_size_pixels = {self.data.image_size_pixels} cannot be halved {levels - 1} times, as the "
                f"{levels} levels of [model] do. Use a multiple of {2 ** (levels - 1)} or fewer levels."
            )
        if isinstance(self.conditioning, Unconditional) and self.sample.guidance_scale != 1:
            raise ValueError(
                f"[sample] guidance_scale = {self.sample.guidance_scale:g}, but [conditioning] kind = 'none' has no "
                "class to be guided to. Set guidance_scale = 1.0 or train with kind = 'class_label'."
            )
        if self.sample.sampler.num_steps > self.diffusion.schedule.num_timesteps:
            raise ValueError(
                f"[sample] num_steps = {self.sample.sampler.num_steps} is more than [diffusion] num_timesteps = "
                f"{self.diffusion.schedule.num_timesteps}. Use fewer sampling steps."
            )
        if self.evaluate.kernel_subset_size > self.sample.num_samples:
            raise ValueError(
                f"[evaluate] kernel_subset_size = {self.evaluate.kernel_subset_size} is more than [sample] num_samples "
                f"= {self.sample.num_samples}. Draw more samples or use smaller subsets."
            )
        known = [name for feature in self.evaluate.features for name in metric_names(feature)]
        if self.register_.gate.metric not in known:
            raise ValueError(
                f"[register.gate] metric = '{self.register_.gate.metric}' is not computed by [evaluate] features. "
                f"Use one of {', '.join(known)}."
            )
        return self

    def training(self) -> TrainingRecipe:
        """Only the sections that make the model."""
        return TrainingRecipe(**{name: getattr(self, name) for name in TrainingRecipe.model_fields})


def metric_names(features: Features) -> tuple[str, str]:
    """The Frechet and the kernel distance of a feature: only Inception's may be called FID and KID."""
    return ("fid", "kid") if features == "inception" else (f"frechet_{features}", f"kernel_{features}")


def section_hash(*sections: Section) -> str:
    """sha256 of the sections' values: the same for the same settings, whatever their layout in the file."""
    values = [section.model_dump(mode="json", by_alias=True) for section in sections]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def flatten(section: Section) -> dict[str, Any]:
    """`{"train.batch_size": 32, ...}`: what MLflow shows as parameters."""

    def walk(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from walk(f"{prefix}.{key}" if prefix else key, inner)
        else:
            yield prefix, value

    return dict(walk("", section.model_dump(mode="json", by_alias=True)))


def _same_length(name: str, values: Sequence[int], other: str, others: Sequence[int]) -> None:
    if len(values) != len(others):
        raise ValueError(f"{name} has {len(values)} entries, {other} has {len(others)}: give one entry per level.")
