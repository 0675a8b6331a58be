"""The training loss of a step: its examples, noise and timesteps all come from (seed, step)."""

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from linnet.data.batches import batch_indices
from linnet.diffusion import objective
from linnet.diffusion.schedule import build_schedule
from linnet.modalities.dispatch import build_codec
from linnet.modalities.statistics import Statistics
from linnet.models.device import memory_format
from linnet.models.precision import autocast, resolve_precision
from linnet.recipe import NoiseLevel, TrainingRecipe
from linnet.training.conditions import TrainingConditions
from linnet.training.distributed import DistributedContext
from linnet.training.examples import load_rows
from linnet.training.step import Batch, step_seed


class DiffusionLoss:
    """The objective of diffusion training. Call `batch` with consecutive steps."""

    def __init__(
        self,
        recipe: TrainingRecipe,
        statistics: Statistics,
        examples: NDArray[Any],
        labels: NDArray[np.int64],
        distributed: DistributedContext,
        *,
        noise_level: NoiseLevel,
        start_step: int,
    ) -> None:
        self._recipe, self._device, self._noise_level = recipe, distributed.device, noise_level
        self._labels = torch.from_numpy(np.array(labels)).to(self._device)  # a copy: files are mapped read-only
        self._codec = build_codec(recipe.data, statistics, self._device)
        self._conditions = TrainingConditions(recipe, statistics, self._device)
        self._schedule = build_schedule(recipe.diffusion.schedule)
        self._generator = torch.Generator(self._device)
        section = recipe.train
        self._local = distributed.local_rows(section.batch_size)
        batches = (  # in file order; the order within a batch means nothing
            np.sort(batch)
            for batch in batch_indices(len(examples), section.batch_size, seed=section.seed, start_step=start_step)
        )
        self.waited_seconds = 0.0
        self._rows = load_rows(examples, batches, self._local, self._device)

    def batch(self, step: int) -> Batch:
        """The rows of the batch of `step` that are this rank's.

        Every rank draws random numbers for the whole batch, so that those of an example do not depend on the number of
        ranks.
        """
        recipe, generator, device, local = self._recipe, self._generator, self._device, self._local
        generator.manual_seed(step_seed(recipe.train.seed, step))  # also restarts a generator on the GPU
        started = time.perf_counter()
        rows = next(self._rows)
        self.waited_seconds += time.perf_counter() - started
        count = len(rows.indices)
        x0 = self._codec.encode(rows.examples)
        if recipe.train.horizontal_flip:
            flip = torch.rand(count, 1, 1, 1, generator=generator, device=device)[local] < 0.5
            x0 = torch.where(flip, x0.flip(-1), x0)
        conditions = self._conditions.sample(self._labels[rows.indices], generator)
        timesteps = torch.randint(self._schedule.num_timesteps, (count,), generator=generator, device=device)[local]
        layout = memory_format(device)
        whole = torch.empty(count, *x0.shape[1:], device=device, memory_format=layout)
        noise = whole.normal_(generator=generator)[local]
        rates = self._schedule.rates(timesteps)
        return Batch(
            x_t=objective.diffuse(x0, noise, *rates).contiguous(memory_format=layout),
            noise_level=self._schedule.noise_level(self._noise_level, timesteps),
            condition=None if conditions is None else conditions[local],
            target=objective.target(recipe.diffusion.prediction, x0, noise, *rates),
        )

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The mean over this rank's rows, a scalar."""
        with autocast(self._device, resolve_precision(self._recipe.train.precision, self._device)):
            output = network(batch.x_t, batch.noise_level, batch.condition)
        return objective.loss(self._recipe.diffusion.loss, output, batch.target)
