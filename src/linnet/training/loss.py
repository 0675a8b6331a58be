"""The training loss of a step: its examples, noise and timesteps all come from (seed, step)."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from linnet.data.batches import batch_indices
from linnet.diffusion import objective
from linnet.diffusion.schedule import build_schedule
from linnet.modalities.dispatch import build_codec
from linnet.modalities.statistics import Statistics
from linnet.models.denoising_network import DenoisingNetwork
from linnet.models.precision import autocast
from linnet.recipe import TrainingRecipe
from linnet.training.conditions import TrainingConditions
from linnet.training.distributed import DistributedContext


class DiffusionLoss:
    """The loss of step n on batch n: everything random in it comes from (seed, n)."""

    def __init__(
        self,
        recipe: TrainingRecipe,
        statistics: Statistics,
        examples: NDArray[Any],
        labels: NDArray[np.int64],
        distributed: DistributedContext,
        *,
        start_step: int,
    ) -> None:
        self._recipe, self._distributed, self._device = recipe, distributed, distributed.device
        self._examples, self._labels = examples, labels
        self._codec = build_codec(recipe.data, statistics, self._device)
        self._conditions = TrainingConditions(recipe, statistics, self._device)
        self._schedule = build_schedule(recipe.diffusion.schedule)
        self._generator = torch.Generator(self._device)
        section = recipe.train
        self._batches: Iterator[NDArray[np.int64]] = batch_indices(
            len(examples), section.batch_size, seed=section.seed, start_step=start_step
        )

    def __call__(self, network: nn.Module, step: int) -> Tensor:
        """Scalar loss over this rank's rows; call with consecutive steps.

        Every rank draws random numbers for the whole batch, so that those of an example do not depend on the number of
        ranks.

        Args:
            network: a DenoisingNetwork, perhaps wrapped in DistributedDataParallel.
        """
        recipe, generator, device = self._recipe, self._generator, self._device
        seed = int(np.random.SeedSequence([recipe.train.seed, step]).generate_state(1)[0])
        generator.manual_seed(seed)  # also restarts a generator on the GPU
        indices = np.sort(next(self._batches))  # in file order; the order within a batch means nothing
        count, rows = len(indices), self._distributed.local_rows(len(indices))
        x0 = self._codec.encode(torch.from_numpy(self._examples[indices[rows]]).to(device))
        if recipe.train.horizontal_flip:
            flip = torch.rand(count, 1, 1, 1, generator=generator, device=device)[rows] < 0.5
            x0 = torch.where(flip, x0.flip(-1), x0)
        labels = torch.from_numpy(self._labels[indices]).to(device)
        conditions = self._conditions.sample(labels, generator)
        timesteps = torch.randint(self._schedule.num_timesteps, (count,), generator=generator, device=device)[rows]
        batch = torch.empty(count, *x0.shape[1:], device=device, memory_format=torch.channels_last)
        noise = batch.normal_(generator=generator)[rows]
        rates = self._schedule.rates(timesteps)
        x_t = objective.diffuse(x0, noise, *rates).contiguous(memory_format=torch.channels_last)
        noise_level = self._schedule.noise_level(_unwrapped(network).noise_level, timesteps)
        gpus = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus), autocast(device, recipe.train.precision):
            torch.manual_seed(seed + self._distributed.rank)  # dropout uses the global generators
            output = network(x_t, noise_level, None if conditions is None else conditions[rows])
        target = objective.target(recipe.diffusion.prediction, x0, noise, *rates)
        return objective.loss(recipe.diffusion.loss, output, target)


def _unwrapped(network: nn.Module) -> DenoisingNetwork:
    inner = network.module if isinstance(network, DistributedDataParallel) else network
    assert isinstance(inner, DenoisingNetwork), type(inner)
    return inner
