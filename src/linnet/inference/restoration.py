"""Restoration of degraded examples with a trained model as prior."""

from dataclasses import dataclass

import torch
from torch import Tensor

from linnet.diffusion.samplers import OnStep, PerSampleNoise
from linnet.inference.batching import index_batches
from linnet.inference.degradations.base import AnyDegradation
from linnet.inference.diffusion_model import DiffusionModel
from linnet.inference.inverse_problem import InverseProblem
from linnet.progress import ProgressBar
from linnet.recipe import RestoreSection

OBSERVATION_STREAM = 0x0B5E  # the noise of the observation is not the noise of the sampler
WHITENING_STREAM = 0x3117E


@dataclass(frozen=True)
class Restoration:
    """Held-out examples, degraded and restored, as features [N, C, H, W] of the codec: pixels or spectrograms."""

    clean: Tensor
    observed: Tensor
    restored: Tensor
    baseline: Tensor
    mask: Tensor  # bool, broadcasts to [C, H, W]: True where nothing was observed


def restore_examples(
    process: AnyDegradation, section: RestoreSection, model: DiffusionModel, clean: Tensor, batch_size: int
) -> Restoration:
    """Degrade standardised examples [N, C, H, W] and bring them back, `batch_size` draws at once, under a bar."""
    problem = process.pose(model.recipe.data.shape)
    y = observe(problem, clean, seed=section.seed)
    count = section.num_draws
    batches = index_batches(count * len(clean), batch_size)  # draw d of example i is the row i count + d
    with _progress(process.section.name, section, len(batches)) as bar:
        draws = [
            _draw(process, section, model, problem, y[[row // count for row in rows]], rows, lambda t, x: bar.advance())
            for rows in batches
        ]
    restored = _average(model, problem, torch.cat(draws).reshape(len(clean), count, *clean.shape[1:]).transpose(0, 1))
    unstandardize = model.codec.unstandardize
    return Restoration(
        clean=unstandardize(clean),
        observed=unstandardize(process.as_example(problem, y)) * ~problem.mask,
        restored=unstandardize(restored),
        baseline=process.baseline(problem, y),
        mask=problem.mask,
    )


def observe(problem: InverseProblem, clean: Tensor, *, seed: int) -> Tensor:
    """What is observed of standardised examples [B, C, H, W], in the operator's own shape."""
    shape = problem.noise_shape(tuple(problem.operator.forward(clean[:1]).shape[1:]))
    noise = PerSampleNoise(seed ^ OBSERVATION_STREAM, list(range(len(clean))), shape, clean.device)
    return problem.observe(clean, noise.next())


def solve(
    process: AnyDegradation,
    section: RestoreSection,
    model: DiffusionModel,
    problem: InverseProblem,
    y: Tensor,
    indices: list[int],
    *,
    on_step: OnStep | None = None,
) -> Tensor:
    """Standardised restorations [B, C, H, W] of observations `y`; the index of a row decides its noise.

    A conditional model predicts without a condition. Examples larger than the trained ones are restored in overlapping
    windows. With `section.num_draws` above 1 that many restorations are averaged: as the codec does where nothing was
    observed and phases differ, plainly elsewhere.
    """
    count = section.num_draws  # one after the other: a recording of one's own may be long
    draws = [
        _draw(process, section, model, problem, y, [index * count + draw for index in indices], on_step)
        for draw in range(count)
    ]
    return _average(model, problem, torch.stack(draws))


def solve_file(
    process: AnyDegradation, section: RestoreSection, model: DiffusionModel, problem: InverseProblem, y: Tensor
) -> Tensor:
    """The restoration of one observation, with a progress bar."""
    with _progress(process.section.kind, section, section.num_draws) as bar:
        return solve(process, section, model, problem, y, [0], on_step=lambda t, x: bar.advance())


def _progress(name: str, section: RestoreSection, num_batches: int) -> ProgressBar:
    return ProgressBar(f"restore: {name}", section.num_steps * num_batches)


def _average(model: DiffusionModel, problem: InverseProblem, draws: Tensor) -> Tensor:
    """[num_draws, B, C, H, W] -> [B, C, H, W]."""
    return torch.where(problem.mask, model.codec.average(draws), draws.mean(dim=0))


def _draw(
    process: AnyDegradation,
    section: RestoreSection,
    model: DiffusionModel,
    problem: InverseProblem,
    y: Tensor,
    indices: list[int],
    on_step: OnStep | None,
) -> Tensor:
    is_noise = model.recipe.diffusion.prediction == "epsilon"  # x_0 from it divides by a signal rate near 0
    predict = model.predictor(
        None, 1.0, clip_x0=is_noise, precision=section.precision, overlap_fraction=section.overlap_fraction
    )
    shape = tuple(problem.operator.pseudo_inverse(y).shape[1:])
    noise = PerSampleNoise(section.seed, indices, shape, model.device)
    y = problem.whitened(y, PerSampleNoise(section.seed ^ WHITENING_STREAM, indices, shape, model.device).next())
    with torch.inference_mode():
        return process.solve(problem, y, model.schedule, predict, noise, section, on_step)
