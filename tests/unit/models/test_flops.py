"""FLOPs are those of an independent count, and a peak is what a product takes."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from linnet.models import flops
from linnet.models.blocks import SelfAttention, TokenAttention
from linnet.models.build import build_network
from linnet.models.flops import count_flops, matmul_peak
from linnet.models.hashed_text_encoder import NGRAMS_PER_WORD
from linnet.recipe import ClassLabel, Recipe, Text, TrainedTextEncoder, Unconditional
from linnet.recipe.load import load_recipe
from support.tiny import tiny_audio_recipe, tiny_music_recipe

RECIPES = Path(__file__).parents[3] / "recipes"
NAMES = ["birds", "birds-baseline", "birds-compact", "birds-demo", "vocals", "vocals-demo", "music-text", "music-demo"]


def recipe_of(name: str) -> Recipe:
    return load_recipe(RECIPES / f"{name}.toml")


@contextmanager
def counted_by_hooks(network: nn.Module) -> Iterator[dict[str, int]]:
    """Fills {layer: multiply-adds x 2} of every convolution, linear layer and pair of attention products."""
    found: dict[str, int] = {}

    def on_conv(name: str) -> Any:
        def hook(layer: nn.Conv2d, _: object, output: Tensor) -> None:
            found[name] = 2 * output.numel() * layer.in_channels * math.prod(layer.kernel_size)

        return hook

    def on_transposed(name: str) -> Any:
        def hook(layer: nn.ConvTranspose2d, inputs: tuple[Tensor], _: object) -> None:
            found[name] = 2 * inputs[0].numel() * layer.out_channels * math.prod(layer.kernel_size)

        return hook

    def on_linear(name: str) -> Any:
        def hook(layer: nn.Linear, _: object, output: Tensor) -> None:
            found[name] = 2 * output.numel() * layer.in_features

        return hook

    def on_attention(name: str) -> Any:
        def hook(layer: SelfAttention, _: object, output: Tensor) -> None:
            positions = output.shape[2] * output.shape[3]
            found[name] = 2 * 2 * layer.heads * positions**2 * layer.head_channels

        return hook

    def on_tokens(name: str) -> Any:
        def hook(layer: TokenAttention, _: object, output: Tensor) -> None:
            found[name] = 2 * 2 * output.shape[1] ** 2 * output.shape[2]

        return hook

    kinds = {
        nn.Conv2d: on_conv,
        nn.ConvTranspose2d: on_transposed,
        nn.Linear: on_linear,
        SelfAttention: on_attention,
        TokenAttention: on_tokens,
    }
    handles = [
        layer.register_forward_hook(kinds[type(layer)](name))
        for name, layer in network.named_modules()
        if type(layer) in kinds
    ]
    yield found
    for handle in handles:
        handle.remove()


def example(recipe: Recipe, device: str) -> tuple[Tensor, Tensor, Tensor | None]:
    condition: Tensor | None = None
    match recipe.conditioning:
        case ClassLabel():
            condition = torch.zeros(1, dtype=torch.int64, device=device)
        case Text(encoder=TrainedTextEncoder(max_words=words)):
            condition = torch.zeros(1, words, NGRAMS_PER_WORD, dtype=torch.int64, device=device)
    return torch.zeros(1, *recipe.data.shape, device=device), torch.full((1,), 0.5, device=device), condition


@pytest.mark.parametrize("name", NAMES)
def test_flops_are_those_of_a_count_by_hand(name: str) -> None:
    """Forward: the sum over layers. Backward: twice that, less the gradients of inputs that nobody needs."""
    recipe = recipe_of(name)
    with torch.device("meta"):
        network = build_network(recipe.training())
    with counted_by_hooks(network) as found:
        network(*example(recipe, "meta"))
    forward, both = count_flops(recipe.training())
    assert forward == pytest.approx(sum(found.values()), rel=0.02)
    needless = found["embed" if "embed" in found else "stem"]  # the noisy example needs no gradient
    if isinstance(recipe.conditioning, Unconditional):
        needless += found.get("embedding_mlp.0", 0)  # nor does the noise level
    assert both == pytest.approx(3 * sum(found.values()) - needless, rel=0.02)


@pytest.mark.parametrize("recipe", [recipe_of("birds-demo"), tiny_audio_recipe(), tiny_music_recipe()])
def test_flops_are_those_of_a_real_training_example(recipe: Recipe) -> None:
    """torch's counter knows attention as two matrix products, which on a CPU needs the math backend."""
    network = build_network(recipe.training())
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        loss = network(*example(recipe, "cpu")).square().mean()
        forward = counter.get_total_flops()
        loss.backward()
    assert count_flops(recipe.training()) == (forward, counter.get_total_flops())


def test_four_times_the_pixels_are_four_times_the_work_without_attention() -> None:
    small, large = (
        load_recipe(RECIPES / "birds-compact.toml", [f"data.image_size_pixels={size}"]).training() for size in (32, 64)
    )
    assert count_flops(large)[0] == 4 * count_flops(small)[0]


@pytest.mark.parametrize(("seconds", "expected"), [(0.5, 32.0), (2.0, 8.0)])
def test_the_peak_is_the_work_of_a_product_over_its_shortest_time(
    monkeypatch: pytest.MonkeyPatch, seconds: float, expected: float
) -> None:
    """Two operations for each of the 2^3 multiply-adds."""
    times = iter(
        [0.0, 9.0, 10.0, 10.0 + seconds, *(value for n in range(20, 28) for value in (n * 10.0, n * 10.0 + 3))]
    )
    monkeypatch.setattr(flops, "PEAK_SIDE", {"cpu": 2})
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    assert matmul_peak(torch.device("cpu"), "fp32") == expected
