"""From settings to samples: the same for a recipe's [sample], for requests and for comparisons."""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, assert_never

import numpy as np
from torch import Tensor

from linnet.data.arrays import ArrayWriter
from linnet.diffusion.samplers import OnStep
from linnet.inference.diffusion_model import DiffusionModel
from linnet.modalities import conditions as conditioning
from linnet.modalities.base import Examples
from linnet.modalities.statistics import Statistics
from linnet.models.conditioning import Condition
from linnet.progress import ProgressBar
from linnet.recipe import AsTrained, Audio, Longer, SampleSection, TrainingRecipe

DEFAULT_OVERLAP = 0.5  # of windows, where the recipe makes no samples that are longer than a training example
CONDITION_STREAM = 0x1ABE1  # with the 0 before it no example's index, so conditions and noise are drawn apart


class SampleLength(NamedTuple):
    """How long samples become."""

    frames: int | None  # generated; None: as many as a training example has
    samples: int | None  # kept of a waveform; None: all
    overlap_fraction: float  # of windows, where there are several


def sample_length(recipe: TrainingRecipe, section: SampleSection, duration_seconds: float | None) -> SampleLength:
    """What the recipe's length means, or `duration_seconds` of audio where somebody asks for them.

    A model generates whole frames, and a training example at least; what is beyond `duration_seconds` is cut off.
    """
    overlap = section.length.overlap_fraction if isinstance(section.length, Longer) else DEFAULT_OVERLAP
    if duration_seconds is None:
        return SampleLength(num_frames(recipe, section), None, overlap)
    assert isinstance(recipe.data, Audio), "the caller refuses seconds of images"
    samples = max(1, round(duration_seconds * recipe.data.sample_rate_hz))
    return SampleLength(1 + math.ceil(samples / recipe.data.stft.hop_samples), samples, overlap)


def num_frames(recipe: TrainingRecipe, section: SampleSection) -> int | None:
    """Of samples longer than the training examples; None where they are not."""
    match section.length:
        case AsTrained():
            return None
        case Longer(duration_seconds=seconds):
            assert isinstance(recipe.data, Audio), "the recipe's check"
            frames = 1 + round(seconds * recipe.data.sample_rate_hz / recipe.data.stft.hop_samples)
            return frames if frames > recipe.data.num_frames else None
        case _:
            assert_never(section.length)


@dataclass(frozen=True)
class SamplingPlan:
    """All that decides samples besides the model; example n depends on the plan, on n and on its condition alone."""

    section: SampleSection
    length: SampleLength
    conditions: Sequence[Condition] | None  # of every example; None for unconditional predictions

    def sample(self, model: DiffusionModel, indices: list[int], *, on_step: OnStep | None = None) -> Tensor:
        """Standardised examples [len(indices), C, H, W], in whole frames.

        Raises:
            LinnetError: the model does not know a condition, or has no unconditional mode.
        """
        return model.sample(
            self.section.sampler,
            seed=self.section.seed,
            indices=indices,
            conditions=self.conditions_of(indices),
            guidance_scale=self.section.guidance_scale,
            clip_x0=self.section.clip_x0,
            precision=self.section.precision,
            frames=self.length.frames,
            overlap_fraction=self.length.overlap_fraction,
            on_step=on_step,
        )

    def decode(self, model: DiffusionModel, x: Tensor) -> Examples:
        """Images, or waveforms cut to their length. Raises NotFiniteError where the sampler left the numbers."""
        return model.codec.decode(x)[:, : self.length.samples]

    def generate(self, model: DiffusionModel, indices: list[int], *, on_step: OnStep | None = None) -> Examples:
        """`sample`, decoded."""
        return self.decode(model, self.sample(model, indices, on_step=on_step))

    def conditions_of(self, indices: list[int]) -> list[Condition] | None:
        """The conditions of some of the examples."""
        return None if self.conditions is None else [self.conditions[index] for index in indices]


def plan_samples(recipe: TrainingRecipe, statistics: Statistics, section: SampleSection) -> SamplingPlan:
    """What the recipe's [sample] says, with conditions as often as in the training data."""
    rng = np.random.default_rng([section.seed, 0, CONDITION_STREAM])
    conditions = conditioning.sample_conditions(recipe.conditioning, statistics, rng, section.num_samples)
    return SamplingPlan(section, sample_length(recipe, section, None), conditions)


def write_samples(
    model: DiffusionModel, plan: SamplingPlan, path: Path, batches: list[list[int]], *, description: str
) -> None:
    """Decoded examples at `path`, written batch by batch."""
    with ExitStack() as stack:
        bar = stack.enter_context(ProgressBar(description, sum(map(len, batches))))
        writer: ArrayWriter | None = None
        for indices in batches:
            examples = plan.generate(model, indices)
            if writer is None:
                writer = stack.enter_context(ArrayWriter(path, examples.shape[1:], examples.dtype.type))
            for example in examples:
                writer.append(example)
            bar.advance(len(indices))
