"""Noise becoming an example, and that example becoming noise, in snapshots."""

import torch
from torch import Tensor

from linnet.diffusion.objective import diffuse
from linnet.inference.diffusion_model import DiffusionModel
from linnet.inference.sampling import SamplingPlan
from linnet.modalities.base import Examples
from linnet.recipe import DDPM

NOISING_EXAMPLES = 2
NOISING_SNAPSHOTS = 10
NOISING_STEPS = 100  # ancestral steps, a snapshot every tenth


def noising_snapshots(model: DiffusionModel, plan: SamplingPlan) -> Examples:
    """Decoded examples [rows, snapshots, ...], two rows for each of the plan's first examples.

    The first row goes backward: ancestral sampling. The second goes forward: the finished example, noised to the same
    timesteps with one noise.
    """
    num_steps = min(NOISING_STEPS, model.schedule.num_timesteps)
    every = max(1, num_steps // NOISING_SNAPSHOTS)
    snapshots: list[tuple[int, Tensor]] = []
    steps_done = 0

    def on_step(timestep: int, x: Tensor) -> None:
        nonlocal steps_done
        steps_done += 1
        if steps_done % every == 0 or timestep < 0:
            snapshots.append((timestep, x))

    indices = list(range(min(NOISING_EXAMPLES, plan.section.num_samples)))
    finished = model.sample(
        DDPM(kind="ddpm", num_steps=num_steps, spacing="trailing"),
        seed=plan.section.seed,
        indices=indices,
        conditions=plan.conditions_of(indices),
        guidance_scale=plan.section.guidance_scale,
        clip_x0=plan.section.clip_x0,
        precision=plan.section.precision,
        on_step=on_step,
    )
    noise = torch.randn(finished.shape, generator=torch.Generator().manual_seed(plan.section.seed)).to(finished.device)
    frames = []
    for index in indices:
        frames += [x[index] for _, x in snapshots]
        for timestep, _ in reversed(snapshots):
            rates = model.schedule.rates(torch.tensor([timestep], device=finished.device))
            frames.append(diffuse(finished[index], noise[index], *rates)[0])
    decoded = model.codec.decode(torch.stack(frames))
    return decoded.reshape(2 * len(indices), len(snapshots), *decoded.shape[1:])
