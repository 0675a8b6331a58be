"""[train]: the optimizer, its learning rate and the length of the run."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from linnet.recipe.section import OpenFraction, Section


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


class Muon(Section):
    """Muon (Jordan et al. 2024) for weights of linear layers and convolutions, AdamW at the same rate for the rest."""

    kind: Literal["muon"]
    momentum: OpenFraction  # of Muon
    beta1: OpenFraction  # of AdamW, as the next
    beta2: OpenFraction
    weight_decay: NonNegativeFloat  # of all


ResolvedPrecision = Literal["fp32", "bf16", "fp16"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]  # "auto": bf16 where the device has units for it, fp32 elsewhere


class TrainSection(Section):
    """The optimizer, its learning rate and the length of the run."""

    duration_kexamples: PositiveFloat  # thousands of training examples, whatever the batch size
    batch_size: PositiveInt  # examples per optimizer step, over all ranks
    learning_rate: PositiveFloat  # peak value, reached after warmup
    warmup_kexamples: NonNegativeFloat
    learning_rate_decay: Literal["none", "cosine"]  # after warmup: stays, or falls to zero at the end of the run
    optimizer: Annotated[Adam | AdamW | Muon, Field(discriminator="kind")]
    max_gradient_norm: PositiveFloat
    ema_decay: OpenFraction  # per optimizer step
    horizontal_flip: bool  # flip half of the images
    precision: Precision
    seed: NonNegativeInt
    log_every_steps: PositiveInt
    grid_every_kexamples: PositiveFloat  # how often to look at a grid of samples of the EMA weights

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
        """The number of optimizer steps of the run."""
        return round(self.duration_kexamples * 1000 / self.batch_size)

    def steps_for(self, kexamples: float) -> int:
        """The number of optimizer steps that take `kexamples` thousand examples, at least one."""
        return max(1, round(kexamples * 1000 / self.batch_size))
