"""What people ask a trained model to generate: from the command line, from the page and of the served model."""

import math
from dataclasses import dataclass

from linnet.errors import LinnetError
from linnet.inference.sampling import SamplingPlan, sample_length
from linnet.models.conditioning import Condition
from linnet.recipe import Audio, Longer, SampleSection, TrainingRecipe

MAX_SECONDS = 600.0  # of audio, unless the model's own are longer


class GenerationError(LinnetError):
    """What was asked for cannot be generated."""


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """What to generate; None leaves a setting as the recipe's [sample] has it."""

    conditions: tuple[Condition, ...]  # of every example; all None: unconditional
    seed: int
    num_steps: int | None = None
    guidance_scale: float | None = None
    duration_seconds: float | None = None  # of audio

    @property
    def count(self) -> int:
        """How many examples."""
        return len(self.conditions)

    @property
    def is_conditional(self) -> bool:
        """Whether there is a condition to be guided to."""
        return any(condition is not None for condition in self.conditions)

    def resolve(self, recipe: TrainingRecipe, section: SampleSection) -> SamplingPlan:
        """How a model of `recipe` fulfils the request; the rest is as `section` says.

        Raises:
            GenerationError: the request makes no sense for this model.
        """
        guidance = self.guidance_scale
        if guidance is None:
            guidance = section.guidance_scale if self.is_conditional else 1.0
        num_steps = section.sampler.num_steps if self.num_steps is None else self.num_steps
        self._check(recipe, section, num_steps, guidance)
        sampler = section.sampler.model_copy(update={"num_steps": num_steps})
        changes = {"sampler": sampler, "seed": self.seed, "guidance_scale": guidance}
        length = sample_length(recipe, section, self.duration_seconds)
        return SamplingPlan(
            section.model_copy(update=changes), length, self.conditions if self.is_conditional else None
        )

    def _check(self, recipe: TrainingRecipe, section: SampleSection, num_steps: int, guidance: float) -> None:
        timesteps = recipe.diffusion.schedule.num_timesteps
        if self.seed < 0:
            raise GenerationError(f"seed = {self.seed}: give 0 or more")
        if not 1 <= num_steps <= timesteps:
            raise GenerationError(f"steps = {num_steps}: give 1 to {timesteps}")
        if guidance != 1 and not self.is_conditional:
            raise GenerationError(f"guidance = {guidance:g} needs a label or a prompt to be guided to")
        if not (math.isfinite(guidance) and guidance >= 0):
            raise GenerationError(f"guidance = {guidance:g}: give a number of 0 or more")
        if (seconds := self.duration_seconds) is not None:
            default = default_seconds(recipe, section)
            if default is None:
                raise GenerationError(f"seconds = {seconds:g}: this model makes images; leave it out")
            if not 0 < seconds <= max(MAX_SECONDS, default):
                raise GenerationError(
                    f"seconds = {seconds:g}: give more than 0 and at most {max(MAX_SECONDS, default):g}"
                )


def default_seconds(recipe: TrainingRecipe, section: SampleSection) -> float | None:
    """How long audio of the model is, where nobody asks for another length; None for images."""
    match recipe.data, section.length:
        case Audio(), Longer(duration_seconds=seconds):
            return seconds
        case Audio() as data, _:
            return data.window_samples / data.sample_rate_hz
        case _:
            return None
