"""Steps of a training on random examples: what they cost is known before there is a dataset."""

import numpy as np

from linnet.modalities.dispatch import get_modality
from linnet.modalities.statistics import neutral_statistics
from linnet.models.build import build_network
from linnet.models.denoising_network import DenoisingNetwork
from linnet.models.device import to_device
from linnet.recipe import TrainingRecipe
from linnet.training.distributed import DistributedContext
from linnet.training.execution import Execution
from linnet.training.loss import DiffusionLoss
from linnet.training.state import new_state
from linnet.training.step import TrainStep

BATCHES, MOST_EXAMPLES = 4, 1024  # random examples, of which a large batch takes some twice


def rehearse(recipe: TrainingRecipe, distributed: DistributedContext, execution: Execution) -> TrainStep:
    """The recipe's network and its first step, on random examples as a dataset would store them."""
    network = to_device(build_network(recipe), distributed.device)
    state = new_state(network, recipe.train, distributed)
    objective = random_objective(
        recipe, network, distributed, num_examples=min(BATCHES * recipe.train.batch_size, MOST_EXAMPLES)
    )
    state.network.train()
    return TrainStep(state, recipe.train, objective, execution)


def random_objective(
    recipe: TrainingRecipe, network: DenoisingNetwork, distributed: DistributedContext, *, num_examples: int
) -> DiffusionLoss:
    """The loss of the recipe's batches, on random examples as a dataset would store them."""
    shape, dtype = get_modality(recipe.data).stored
    return DiffusionLoss(
        recipe,
        neutral_statistics(recipe.data),
        np.random.default_rng(0).integers(0, 256, (num_examples, *shape)).astype(dtype),
        np.zeros(num_examples, dtype=np.int64),
        distributed,
        noise_level=network.noise_level,
        start_step=0,
    )
