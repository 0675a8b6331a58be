"""[sample]: what is generated from the trained model, and by which sampler."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from linnet.recipe.section import Fraction, OpenFraction, Section
from linnet.recipe.train import Precision

StepSpacing = Literal["trailing", "log_snr", "karras"]  # how timesteps are spread: see diffusion/schedule.py


class DDPM(Section):
    """Ancestral sampling (Ho et al. 2020, algorithm 2)."""

    kind: Literal["ddpm"]
    num_steps: PositiveInt
    spacing: StepSpacing


class DDIM(Section):
    """Implicit sampling (Song et al. 2021); eta = 1 has the noise of DDPM, eta = 0 none."""

    kind: Literal["ddim"]
    num_steps: PositiveInt
    spacing: StepSpacing
    eta: Fraction


class DPMSolver(Section):
    """DPM-Solver++(2M), a second-order multistep solver (Lu et al. 2022)."""

    kind: Literal["dpm_solver_pp_2m"]
    num_steps: PositiveInt
    spacing: StepSpacing


SamplerSection = Annotated[DDPM | DDIM | DPMSolver, Field(discriminator="kind")]


class AsTrained(Section):
    """Each sample is as large as a training example."""

    kind: Literal["as_trained"]


class Longer(Section):
    """Audio of any length, denoised in windows that overlap."""

    kind: Literal["longer"]
    duration_seconds: PositiveFloat
    overlap_fraction: OpenFraction  # of neighbouring windows


class SampleSection(Section):
    """What to generate from the trained model."""

    sampler: SamplerSection
    num_samples: PositiveInt
    num_files: NonNegativeInt  # how many of them also become single files
    length: Annotated[AsTrained | Longer, Field(discriminator="kind")]
    seed: NonNegativeInt
    weights: Literal["ema", "raw"]
    guidance_scale: NonNegativeFloat  # 1: as trained; above 1 pulls towards the condition
    clip_x0: bool  # keep each prediction inside the range of real examples
    precision: Precision

    @model_validator(mode="after")
    def _files_exist(self) -> Self:
        if self.num_files > self.num_samples:
            raise ValueError(f"num_files = {self.num_files} is more than num_samples = {self.num_samples}.")
        return self
