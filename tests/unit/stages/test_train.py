import numpy as np
import pytest
import torch
from torch import Tensor

from linnet.models.build import build_network
from linnet.recipe import TrainingRecipe
from linnet.training.distributed import DistributedContext
from linnet.training.loss import DiffusionLoss
from support.statistics import image_statistics
from support.tiny import tiny_recipe

CPU = torch.device("cpu")
UNET = (
    "model={kind='unet', channels=16, channel_multipliers=[1, 2], blocks_per_level=1, "
    "attention_heads_by_level=[0, 1], middle_attention_heads=1, norm_groups=8, timestep_injection='shift', "
    "resampling='conv', frequency_layer={kind='none'}, dropout=0.5}"
)


def losses(recipe: TrainingRecipe, steps: range, *, empty_classes: int = 0) -> list[Tensor]:
    images = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(12, dtype=np.int64) % 8
    statistics = image_statistics(
        class_names=[str(n) for n in range(8 + empty_classes)], class_counts=[1] * 8 + [0] * empty_classes
    )
    network = build_network(recipe).train()
    with torch.no_grad():
        for parameter in network.parameters():  # the head starts at zero and would hide the rest
            parameter.add_(0.02)
    objective = DiffusionLoss(
        recipe,
        statistics,
        images,
        labels,
        DistributedContext.single_process(CPU),
        noise_level=network.noise_level,
        start_step=steps.start,
    )
    return [objective.loss(network, objective.batch(step)).detach() for step in steps]


@pytest.mark.parametrize("model", ["model.stem_channels=8", UNET])
def test_the_loss_of_a_step_depends_on_the_step_alone(model: str) -> None:
    """Flips, timesteps, noise, dropped labels and dropout are the same however the run got to the step."""
    recipe = tiny_recipe(model).training()
    torch.manual_seed(1)
    whole = losses(recipe, range(6))
    torch.manual_seed(2)
    assert whole[4:] == losses(recipe, range(4, 6))
    assert len({float(loss) for loss in whole}) == 6


def test_another_seed_is_another_run() -> None:
    first, other = (losses(tiny_recipe(f"train.seed={seed}").training(), range(2)) for seed in (0, 1))
    assert first != other


def test_classes_without_examples_need_no_room() -> None:
    """The data set names eleven, its train split has images of the eight that the recipe makes room for."""
    recipe = tiny_recipe().training()
    assert losses(recipe, range(2), empty_classes=3) == losses(recipe, range(2))
