"""The memory of sampling is a line in the number of examples, and a batch beyond it ends in a sentence."""

import pytest
import torch

from linnet.inference.diffusion_model import DiffusionModel
from linnet.inference.memory import explains_examples_memory, sampling_memory
from linnet.modalities.statistics import neutral_statistics
from linnet.models.build import build_network
from linnet.models.memory import OVERHEAD, BatchMemoryError, LiveBytes
from support.tiny import tiny_recipe

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> DiffusionModel:
    recipe = tiny_recipe().training()
    network = build_network(recipe).eval().requires_grad_(False)
    return DiffusionModel.of(network, recipe, neutral_statistics(recipe.data), CPU)


def test_the_estimate_holds_what_a_prediction_takes(model: DiffusionModel) -> None:
    memory = sampling_memory(model, "fp32")
    x, levels, condition = torch.zeros(8, 3, 16, 16), torch.full((8,), 0.5), model.encoder.null_condition(8)
    with torch.inference_mode(), LiveBytes() as live:
        model.network(x, levels, condition)
    states = 8 * 8 * x[0].nbytes
    assert memory.of(8) == pytest.approx(OVERHEAD["cpu"] * (live.peak + states), rel=0.15)


def test_longer_examples_take_more(model: DiffusionModel) -> None:
    further = sampling_memory(model, "fp32", frames=116).of(1) - sampling_memory(model, "fp32").of(1)
    assert further == pytest.approx(OVERHEAD["cpu"] * 8 * 3 * 16 * 100 * 4, abs=2)


def test_a_batch_that_does_not_fit_names_the_option(model: DiffusionModel) -> None:
    with (
        pytest.raises(BatchMemoryError, match=r"for 64 examples at once. What to do: --batch-size \d+ \("),
        explains_examples_memory(model, "fp32", 64),
    ):
        torch.ones(2**60)


def test_for_one_example_no_smaller_batch_is_advised(model: DiffusionModel) -> None:
    with pytest.raises(BatchMemoryError, match="shorter"), explains_examples_memory(model, "fp32", 1):
        torch.ones(2**60)
