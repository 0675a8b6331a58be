"""FLOPs are those of an independent count, and a peak is what a product takes."""

import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from linnet.models import flops
from linnet.models.build import build_network
from linnet.models.flops import TRAINING_TIMES_FORWARD, count_flops, matmul_peak
from linnet.models.hashed_text_encoder import NGRAMS_PER_WORD
from linnet.recipe import ClassLabel, Recipe, Text, TrainedTextEncoder
from linnet.recipe.load import load_recipe
from support.tiny import tiny_audio_recipe, tiny_music_recipe

RECIPES = Path(__file__).parents[3] / "recipes"
NAMES = ["birds", "birds-baseline", "birds-compact", "birds-demo", "vocals", "vocals-demo", "music-text", "music-demo"]


def recipe_of(name: str) -> Recipe:
    return load_recipe(RECIPES / f"{name}.toml")


def counted_by_torch(recipe: Recipe, network: nn.Module, device: str) -> tuple[int, int]:
    """Forward, and forward with backward; torch's counter knows attention on a CPU by the math backend only."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        loss = network(*example(recipe, device)).square().mean()
        forward = counter.get_total_flops()
        loss.backward()
    return forward, counter.get_total_flops()


def example(recipe: Recipe, device: str) -> tuple[Tensor, Tensor, Tensor | None]:
    condition: Tensor | None = None
    match recipe.conditioning:
        case ClassLabel():
            condition = torch.zeros(1, dtype=torch.int64, device=device)
        case Text(encoder=TrainedTextEncoder(max_words=words)):
            condition = torch.ones(1, words, NGRAMS_PER_WORD, dtype=torch.int64, device=device)
    return torch.zeros(1, *recipe.data.shape, device=device), torch.full((1,), 0.5, device=device), condition


@pytest.mark.parametrize("name", NAMES)
def test_flops_are_those_that_torch_counts(name: str) -> None:
    """Training takes three times those of the forward pass, less gradients of inputs that nobody needs."""
    recipe = recipe_of(name)
    with torch.device("meta"):
        network = build_network(recipe.training())
    forward, both = counted_by_torch(recipe, network, "meta")
    found = count_flops(network, recipe.training())
    assert found == pytest.approx(forward, rel=0.001)
    assert TRAINING_TIMES_FORWARD * found == pytest.approx(both, rel=0.02)


@pytest.mark.parametrize("recipe", [recipe_of("birds-demo"), tiny_audio_recipe(), tiny_music_recipe()])
def test_counting_leaves_a_real_network_as_it_is(recipe: Recipe) -> None:
    network = build_network(recipe.training()).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    found = count_flops(network, recipe.training())
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    with torch.device("meta"):
        assert found == count_flops(build_network(recipe.training()), recipe.training())


def test_four_times_the_pixels_are_four_times_the_work_without_attention() -> None:
    found = []
    for size in (32, 64):
        recipe = load_recipe(RECIPES / "birds-compact.toml", [f"data.image_size_pixels={size}"]).training()
        with torch.device("meta"):
            found.append(count_flops(build_network(recipe), recipe))
    assert found[1] == 4 * found[0]


@pytest.mark.parametrize(
    ("seconds", "expected"), [([0.3, 0.1, 0.2], 160.0), ([0.25, 0.2, 0.125], 128.0), ([2.0, 0.1], 8.0)]
)
def test_the_peak_is_the_work_of_a_product_over_its_shortest_time(
    monkeypatch: pytest.MonkeyPatch, seconds: list[float], expected: float
) -> None:
    """Two operations for each of the 2^3 multiply-adds, tried until half a second is over."""
    times = iter([value for took in seconds for value in (0.0, took)])
    monkeypatch.setattr(flops, "PEAK_SIDE", {"cpu": 2})
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    assert matmul_peak(torch.device("cpu"), "fp32") == expected
