"""Steps of a training on random examples: what they cost is known before there is a dataset."""

import numpy as np

from linnet.modalities.dispatch import get_modality
from linnet.modalities.statistics import neutral_statistics
from linnet.models.build import build_network
from linnet.models.device import to_device
from linnet.recipe import TrainingRecipe
from linnet.training.distributed import DistributedContext
from linnet.training.execution import Execution
from linnet.training.loss import DiffusionLoss
from linnet.training.state import new_state
from linnet.training.step import TrainStep

BATCHES = 4


def rehearse(recipe: TrainingRecipe, distributed: DistributedContext, execution: Execution) -> TrainStep:
    """The recipe's network and its first step, on four batches of random examples as a dataset would store them."""
    network = to_device(build_network(recipe), distributed.device)
    state = new_state(network, recipe.train, distributed)
    shape, dtype = get_modality(recipe.data).stored
    count = BATCHES * recipe.train.batch_size
    objective = DiffusionLoss(
        recipe,
        neutral_statistics(recipe.data),
        np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(dtype),
        np.zeros(count, dtype=np.int64),
        distributed,
        noise_level=network.noise_level,
        start_step=0,
    )
    state.network.train()
    return TrainStep(state, recipe.train, objective, execution)
