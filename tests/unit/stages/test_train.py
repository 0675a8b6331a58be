import numpy as np
import pytest
import torch

from linnet.models.build import build_network
from linnet.training.distributed import DistributedContext
from linnet.training.execution import EAGER
from linnet.training.loss import DiffusionLoss
from linnet.training.state import new_state
from linnet.training.step import TrainStep
from support.statistics import image_statistics
from support.tiny import tiny_recipe

CPU = torch.device("cpu")
UNET = (
    "model={kind='unet', channels=16, channel_multipliers=[1, 2], blocks_per_level=1, "
    "attention_heads_by_level=[0, 1], middle_attention_heads=1, norm_groups=8, timestep_injection='shift', "
    "resampling='conv', frequency_layer={kind='none'}, dropout=0.5}"
)


def losses(*overrides: str, steps: range, empty_classes: int = 0) -> list[float]:
    """Of training steps whose rate is so small that no weight changes."""
    recipe = tiny_recipe("train.learning_rate=1e-30", *overrides).training()
    images = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(12, dtype=np.int64) % 8
    statistics = image_statistics(
        class_names=[str(n) for n in range(8 + empty_classes)], class_counts=[1] * 8 + [0] * empty_classes
    )
    network = build_network(recipe).train()
    with torch.no_grad():
        for parameter in network.parameters():  # the head starts at zero and would hide the rest
            parameter.add_(0.02)
    state = new_state(network, recipe.train, DistributedContext.single_process(CPU))
    state.step = steps.start
    objective = DiffusionLoss(
        recipe,
        statistics,
        images,
        labels,
        state.distributed,
        noise_level=network.noise_level,
        start_step=steps.start,
    )
    take, found = TrainStep(state, recipe.train, objective, EAGER), []
    for _ in steps:
        take()
        found.append(state.update.read().loss)
    return found


@pytest.mark.parametrize("model", ["model.stem_channels=8", UNET])
def test_the_loss_of_a_step_depends_on_the_step_alone(model: str) -> None:
    """Flips, timesteps, noise, dropped labels and dropout are the same however the run got to the step."""
    torch.manual_seed(1)
    whole = losses(model, steps=range(6))
    torch.manual_seed(2)
    assert whole[4:] == losses(model, steps=range(4, 6))
    assert len(set(whole)) == 6


def test_another_seed_is_another_run() -> None:
    first, other = (losses(f"train.seed={seed}", steps=range(2)) for seed in (0, 1))
    assert first != other


def test_classes_without_examples_need_no_room() -> None:
    """The data set names eleven, its train split has images of the eight that the recipe makes room for."""
    assert losses(steps=range(2), empty_classes=3) == losses(steps=range(2))
