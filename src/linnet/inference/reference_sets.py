"""The sets of examples that evaluate compares: the model's samples, and what their distance is read by."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch

from linnet.artifacts import Dataset, Samples
from linnet.data.arrays import open_array, random_rows
from linnet.inference.batching import index_batches
from linnet.inference.diffusion_model import DiffusionModel
from linnet.inference.sampling import num_frames, plan_samples, write_samples
from linnet.modalities.base import Examples
from linnet.recipe import Audio, DataSection, DPMSolver, Recipe, SampleSection

UNTRAINED_STEPS = 4  # of a network that has learnt nothing, whatever the recipe samples with


@dataclass(frozen=True)
class ReferenceSets:
    """Decoded examples, uint8 images [N, H, W, 3] or int16 waveforms [N, samples].

    `untrained` and `noise` are as many examples as `model`, and as long. `real` are as many as `model` has segments of
    the reference's length, or the whole split where that is smaller: a Frechet distance depends on how many there are.
    """

    reference: Examples  # real examples of the reference split
    model: Examples  # the samples
    untrained: Examples  # samples of the network before training
    noise: Examples
    real: Examples  # of the other split: what a very good model would look like

    @classmethod
    def build(
        cls,
        recipe: Recipe,
        diffusion_model: DiffusionModel,
        *,
        dataset: Path,
        samples: Path,
        scratch: Path,
        batch_size: int,
    ) -> Self:
        """Read what is there, and sample what is not.

        Args:
            diffusion_model: the network before training.
            scratch: a folder for what is too large for memory.
        """
        section = recipe.evaluate
        reference = read_split(recipe, dataset, section.reference_split)
        generated = np.asarray(open_array(samples / Samples.examples))
        num_segments = math.prod(in_segments(recipe.data, generated, reference.shape[1]).shape[:2])
        return cls(
            reference=reference,
            model=generated,
            untrained=sample_untrained(recipe.sample, diffusion_model, scratch, batch_size),
            noise=pure_noise(recipe, diffusion_model, len(generated), batch_size),
            real=random_rows(
                read_split(recipe, dataset, other_split(section.reference_split)), num_segments, section.seed
            ),
        )

    def segments(self, data: DataSection) -> dict[str, Examples]:
        """Each set [N, P, ...] in segments as long as the reference's examples."""
        return {name: in_segments(data, examples, self.reference.shape[1]) for name, examples in vars(self).items()}


def other_split(split: str) -> str:
    """The split that `split` is not."""
    return "train" if split == "test" else "test"


def read_split(recipe: Recipe, dataset: Path, split: str) -> Examples:
    """All examples of a split, as people look at or listen to them."""
    return np.asarray(open_array(dataset / Dataset.examples(recipe.data, split)))


def in_segments(data: DataSection, examples: Examples, length: int) -> Examples:
    """[N, P, ...]: waveforms in segments of `length` samples, as features averaged over time depend on how long it is.

    Less than a segment at the end is left out. Images are one segment.
    """
    if not isinstance(data, Audio):
        return examples[:, None]
    count = examples.shape[1] // length
    return examples[:, : count * length].reshape(len(examples), count, length)


def pure_noise(recipe: Recipe, diffusion_model: DiffusionModel, count: int, batch_size: int) -> Examples:
    """What the sampler starts from, as people would see or hear it: Gaussian noise with the data's mean and scale."""
    rng = np.random.default_rng(recipe.evaluate.seed)
    channels, height, width = recipe.data.shape
    width = num_frames(diffusion_model.recipe, recipe.sample) or width
    decoded = []
    for indices in index_batches(count, batch_size):
        noise = rng.standard_normal((len(indices), channels, height, width), dtype=np.float32)
        decoded.append(diffusion_model.codec.decode(torch.from_numpy(noise).to(diffusion_model.device)))
    return np.concatenate(decoded)


def sample_untrained(
    section: SampleSection, diffusion_model: DiffusionModel, scratch: Path, batch_size: int
) -> Examples:
    """As many samples of the same network before training, by a fast sampler: there is nothing to get right."""
    steps = min(UNTRAINED_STEPS, diffusion_model.recipe.diffusion.schedule.num_timesteps)
    section = section.model_copy(
        update={"sampler": DPMSolver(kind="dpm_solver_pp_2m", num_steps=steps, spacing="trailing")}
    )
    path = scratch / Samples.examples
    plan = plan_samples(diffusion_model.recipe, diffusion_model.statistics, section)
    batches = index_batches(section.num_samples, batch_size)
    write_samples(diffusion_model, plan, path, batches, description="evaluate: untrained examples")
    return np.array(open_array(path))
