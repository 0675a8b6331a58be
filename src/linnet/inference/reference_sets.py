"""What evaluate measures beside the model's samples, so that their distance can be read."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from linnet.artifacts import Dataset, Samples
from linnet.data.arrays import open_array
from linnet.inference.batching import index_batches
from linnet.inference.diffusion_model import DiffusionModel
from linnet.inference.sampling import num_frames, plan_samples, write_samples
from linnet.modalities.base import Examples
from linnet.recipe import DPMSolver, Recipe, SampleSection

UNTRAINED_STEPS = 20


@dataclass(frozen=True)
class Sets:
    """The four sets of examples that are compared with the reference.

    `untrained` and `noise` are as many examples as `model`, and as long. `real` are as many as `model` has segments of
    their length, or the whole split where that is smaller: a Frechet distance depends on how many there are.
    """

    model: Examples
    untrained: Examples
    noise: Examples
    real: Examples  # of the other split: what a very good model would look like


def examples_of(recipe: Recipe, dataset: Path, split: str) -> Examples:
    """All of a split: uint8 images [N, H, W, 3] or int16 waveforms [N, samples]."""
    return np.asarray(open_array(dataset / Dataset.examples(recipe.data, split)))


def subset(examples: Examples, count: int, seed: int) -> Examples:
    """`count` of them drawn by lot, or all where there are fewer; in their order."""
    rows = np.random.default_rng(seed).permutation(len(examples))[:count]
    return np.asarray(examples[np.sort(rows)])


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


def untrained(section: SampleSection, diffusion_model: DiffusionModel, scratch: Path, batch_size: int) -> Examples:
    """As many examples from the same network before training, by a fast sampler: it has nothing to get right."""
    steps = min(UNTRAINED_STEPS, diffusion_model.recipe.diffusion.schedule.num_timesteps)
    section = section.model_copy(update={"sampler": DPMSolver(kind="dpm_solver_pp_2m", num_steps=steps)})
    path = scratch / Samples.examples
    plan = plan_samples(diffusion_model.recipe, diffusion_model.statistics, section)
    batches = index_batches(section.num_samples, batch_size)
    write_samples(diffusion_model, plan, path, batches, description="evaluate: untrained examples")
    return np.array(open_array(path))
