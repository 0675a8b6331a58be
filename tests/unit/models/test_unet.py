"""The U-Net after Ho et al.: size, what reaches the output, and what must not."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

from linnet.models.unet import UNet
from linnet.recipe import TDF, ClassLabel, NoFrequencyLayer, Unconditional
from linnet.recipe import UNet as Settings
from linnet.recipe.load import load_recipe

RECIPES = Path(__file__).parents[3] / "recipes"
CLASSES = 5
TIMESTEPS = torch.tensor([0.0, 300.0, 999.0])
LABELS = torch.tensor([0, 1, 4])


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Layers this small are ten times slower when their threads wait for a busy core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


Injection = Literal["shift", "scale_shift"]
Resampling = Literal["conv", "biggan"]
KINDS: list[tuple[Injection, Resampling, bool]] = [
    ("shift", "conv", False),
    ("scale_shift", "biggan", False),
    ("scale_shift", "conv", True),
    ("shift", "biggan", True),
]


def build(
    *,
    injection: Injection = "shift",
    resampling: Resampling = "conv",
    frequency_layer: bool = False,
    num_classes: int = CLASSES,
    dropout: float = 0.0,
    side: int = 16,
    random_weights: bool = True,
) -> UNet:
    torch.manual_seed(0)
    settings = Settings(
        kind="unet",
        channels=16,
        channel_multipliers=(1, 2, 3),
        blocks_per_level=2,
        attention_heads_by_level=(0, 4, 0),
        middle_attention_heads=2,
        norm_groups=8,
        timestep_injection=injection,
        resampling=resampling,
        frequency_layer=TDF(kind="tdf", bottleneck=4, min_units=3)
        if frequency_layer
        else NoFrequencyLayer(kind="none"),
        dropout=dropout,
    )
    conditioning = (
        ClassLabel(kind="class_label", num_classes=num_classes, dropout=0.1)
        if num_classes
        else Unconditional(kind="none")
    )
    network = UNet(settings, shape=(3, side, side), conditioning=conditioning)
    if random_weights:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.normal_(std=parameter[0].numel() ** -0.5)
    return network


def images(size: int = 16) -> Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_parameter_count_of_the_baseline() -> None:
    recipe = load_recipe(RECIPES / "birds-baseline.toml")
    assert isinstance(recipe.model, Settings)
    with torch.device("meta"):
        network = UNet(recipe.model, shape=recipe.data.shape, conditioning=recipe.conditioning)
    assert sum(parameter.numel() for parameter in network.parameters()) == 35_746_307


@pytest.mark.parametrize(
    ("resampling", "frequency_layer", "count"),
    [
        ("biggan", NoFrequencyLayer(kind="none"), 34_281_282),
        ("conv", NoFrequencyLayer(kind="none"), 31_047_426),
        ("conv", TDF(kind="tdf", bottleneck=16, min_units=16), 31_291_650),
    ],
)
def test_parameter_counts_of_the_vocals_prior(
    resampling: Resampling, frequency_layer: TDF | NoFrequencyLayer, count: int
) -> None:
    settings = Settings(
        kind="unet",
        channels=64,
        channel_multipliers=(1, 1, 2, 2, 4, 4),
        blocks_per_level=2,
        attention_heads_by_level=(0, 0, 0, 0, 2, 2),
        middle_attention_heads=2,
        norm_groups=32,
        timestep_injection="scale_shift",
        resampling=resampling,
        frequency_layer=frequency_layer,
        dropout=0.0,
    )
    with torch.device("meta"):
        network = UNet(settings, shape=(2, 512, 512), conditioning=Unconditional(kind="none"))
    assert sum(parameter.numel() for parameter in network.parameters()) == count


def conv(into: int, out: int, side: int) -> int:
    return into * out * side**2 + out


def test_parameter_count_of_another_size_by_hand() -> None:
    dims = 4 * 16

    def block(into: int, out: int, *, attention: bool = False) -> int:
        count = 2 * into + conv(into, out, 3) + conv(dims, out, 1) + 2 * out + conv(out, out, 3)
        count += conv(into, out, 1) if into != out else 0
        return count + (2 * out + conv(out, 3 * out, 1) + conv(out, out, 1) if attention else 0)

    count = conv(16, dims, 1) + conv(dims, dims, 1) + (CLASSES + 1) * dims + conv(3, 16, 3)
    count += 2 * block(16, 16) + conv(16, 16, 3)
    count += block(16, 32, attention=True) + block(32, 32, attention=True) + conv(32, 32, 3)
    count += block(32, 48) + block(48, 48)
    count += block(48, 48, attention=True) + block(48, 48)
    count += 2 * block(48 + 48, 48) + block(48 + 32, 48) + conv(48, 48, 3)
    count += block(48 + 32, 32, attention=True) + block(32 + 32, 32, attention=True)
    count += block(32 + 16, 32, attention=True) + conv(32, 32, 3)
    count += block(32 + 16, 16) + 2 * block(16 + 16, 16)
    count += 2 * 16 + conv(16, 3, 3)
    assert sum(parameter.numel() for parameter in build().parameters()) == count


@pytest.mark.parametrize("size", [4, 8, 20, 32])
@pytest.mark.parametrize(("injection", "resampling", "frequency_layer"), KINDS)
def test_starts_at_zero_and_keeps_the_shape(
    injection: Injection, resampling: Resampling, frequency_layer: bool, size: int
) -> None:
    untrained = build(
        injection=injection,
        resampling=resampling,
        frequency_layer=frequency_layer,
        side=size,
        random_weights=False,
    )
    assert torch.equal(untrained(images(size), TIMESTEPS, LABELS), torch.zeros(3, 3, size, size))
    network = build(injection=injection, resampling=resampling, frequency_layer=frequency_layer, side=size)
    wide = network(torch.randn(2, 3, size, 2 * size), TIMESTEPS[:2], LABELS[:2])
    assert wide.shape == (2, 3, size, 2 * size)
    assert float(wide.detach().abs().min()) > 0


def test_every_residual_branch_starts_as_the_identity() -> None:
    network = build(random_weights=False)
    block = network.middle[0]
    x = torch.randn(2, 48, 4, 4)
    assert torch.equal(block(x, torch.randn(2, 64)), x)


def test_timestep_embedding_is_the_transformers() -> None:
    """sin and cos of t / 10,000^(2i / d) (Vaswani et al. 2017, section 3.5), sines first."""
    embedding = build().timestep_embedding(torch.tensor([3.0]))[0].tolist()
    angles = [3.0 / 10_000 ** (2 * i / 16) for i in range(8)]
    assert embedding == pytest.approx([*map(math.sin, angles), *map(math.cos, angles)], abs=1e-6)


@pytest.mark.parametrize(("injection", "resampling", "frequency_layer"), KINDS)
def test_timestep_and_label_reach_every_pixel(
    injection: Injection, resampling: Resampling, frequency_layer: bool
) -> None:
    network = build(injection=injection, resampling=resampling, frequency_layer=frequency_layer).eval()
    with torch.inference_mode():
        base = network(images(), TIMESTEPS, LABELS)
        assert float((network(images(), TIMESTEPS + 1, LABELS) - base).abs().min()) > 0
        assert float((network(images(), TIMESTEPS, (LABELS + 1) % CLASSES) - base).abs().min()) > 0
        without = network(images(), TIMESTEPS, None)
        assert float((without - base).abs().min()) > 0
        assert torch.equal(without, network(images(), TIMESTEPS, torch.full((3,), CLASSES)))


def test_an_unconditional_network_has_no_labels() -> None:
    network = build(num_classes=0).eval()
    assert network.label_embedding is None
    assert network(images(), TIMESTEPS, None).shape == (3, 3, 16, 16)


@pytest.mark.parametrize(("injection", "resampling", "frequency_layer"), KINDS)
def test_images_do_not_see_one_another(injection: Injection, resampling: Resampling, frequency_layer: bool) -> None:
    network = build(injection=injection, resampling=resampling, frequency_layer=frequency_layer).eval()
    with torch.inference_mode():
        whole = network(images(), TIMESTEPS, LABELS)
        alone = torch.cat([network(images()[[i]], TIMESTEPS[[i]], LABELS[[i]]) for i in range(3)])
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("injection", "resampling", "frequency_layer"), KINDS)
def test_every_parameter_gets_a_gradient(injection: Injection, resampling: Resampling, frequency_layer: bool) -> None:
    network = build(injection=injection, resampling=resampling, frequency_layer=frequency_layer)
    network(images(), TIMESTEPS, LABELS).square().mean().backward()
    none = [
        name for name, value in network.named_parameters() if value.grad is None or not value.grad.abs().max() > 1e-7
    ]
    assert none == []


@pytest.mark.parametrize(("injection", "resampling", "frequency_layer"), KINDS)
def test_memory_layout_changes_nothing(injection: Injection, resampling: Resampling, frequency_layer: bool) -> None:
    network = build(injection=injection, resampling=resampling, frequency_layer=frequency_layer).eval()
    with torch.inference_mode():
        expected = network(images(), TIMESTEPS, LABELS)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        found = network(images().contiguous(memory_format=torch.channels_last), TIMESTEPS, LABELS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_dropout_works_in_training_only() -> None:
    network = build(dropout=0.5)
    with torch.inference_mode():
        network.train()
        assert not torch.equal(network(images(), TIMESTEPS, LABELS), network(images(), TIMESTEPS, LABELS))
        network.eval()
        assert torch.equal(network(images(), TIMESTEPS, LABELS), network(images(), TIMESTEPS, LABELS))
        assert torch.equal(build(dropout=0.0)(images(), TIMESTEPS, LABELS), network(images(), TIMESTEPS, LABELS))
