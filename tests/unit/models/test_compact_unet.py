"""The compact U-Net: published sizes, what reaches the output, and what must not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from linnet.models.compact_unet import CompactUNet
from linnet.recipe import ClassLabel, Unconditional
from linnet.recipe import CompactUNet as Settings
from linnet.recipe.load import load_recipe

RECIPES = Path(__file__).parents[3] / "recipes"
Injection = Literal["input", "every_block"]
INJECTIONS: list[Injection] = ["input", "every_block"]
CLASSES = 5


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Layers this small are ten times slower when their threads wait for a busy core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def settings(injection: Injection, *, heads: tuple[int, ...] = (0, 2, 1)) -> Settings:
    return Settings(
        kind="compact_unet",
        noise_injection=injection,
        stem_channels=16,
        embedding_dims=12,
        widths=(16, 24, 32),
        blocks_per_level=2,
        attention_heads_by_level=heads,
    )


def build(injection: Injection, *, num_classes: int = CLASSES, random_weights: bool = True) -> CompactUNet:
    torch.manual_seed(0)
    conditioning = (
        ClassLabel(kind="class_label", num_classes=num_classes, dropout=0.1)
        if num_classes
        else Unconditional(kind="none")
    )
    network = CompactUNet(settings(injection), shape=(3, 16, 16), conditioning=conditioning)
    if random_weights:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.normal_(std=parameter[0].numel() ** -0.5)
    return network


def images(size: int = 16) -> Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))


VARIANCE = torch.tensor([0.1, 0.5, 0.9])
LABELS = torch.tensor([0, 1, 4])


def parameters_of(recipe: str, *overrides: str) -> int:
    whole = load_recipe(RECIPES / f"{recipe}.toml", overrides)
    assert isinstance(whole.model, Settings)
    with torch.device("meta"):
        network = CompactUNet(whole.model, shape=whole.data.shape, conditioning=whole.conditioning)
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameter_counts_are_the_published_ones() -> None:
    assert parameters_of("birds-compact") == 1_950_627
    assert parameters_of("birds") == 29_828_419
    assert parameters_of("birds", "model.attention_heads_by_level=[0, 0, 0, 0]") == 17_218_883


def conv(into: int, out: int, side: int) -> int:
    return into * out * side**2 + out


@pytest.mark.parametrize("injection", INJECTIONS)
def test_parameter_count_of_another_size_by_hand(injection: Injection) -> None:
    every_block = injection == "every_block"
    dims, stem = 12, 16

    def block(into: int, out: int, heads: int) -> int:
        count = conv(into, out, 3) + conv(out, out, 3) + (conv(into, out, 1) if into != out else 0)
        if every_block:
            count += conv(dims, out, 1) + 2 * into + 2 * out  # shift, scale and offset of two group norms
        if heads:
            count += conv(out, 3 * heads * out, 1) + conv(heads * out, out, 1)  # each head has the full width
        return count

    count = conv(3, stem, 1) + conv(16, 3, 1) + (CLASSES + 1) * dims
    count += 2 * conv(dims, dims, 1) if every_block else 0
    count += block(stem if every_block else stem + dims, 16, 0) + block(16, 16, 0)
    count += block(16, 24, 2) + block(24, 24, 2)
    count += block(24, 32, 1) + block(32, 32, 1)
    count += block(32 + 24, 24, 2) + block(24 + 24, 24, 2)
    count += block(24 + 16, 16, 0) + block(16 + 16, 16, 0)
    assert sum(parameter.numel() for parameter in build(injection).parameters()) == count


@pytest.mark.parametrize("size", [4, 8, 20, 32])
@pytest.mark.parametrize("injection", INJECTIONS)
def test_starts_at_zero_and_keeps_the_shape(injection: Injection, size: int) -> None:
    untrained = build(injection, random_weights=False)(images(size), VARIANCE, LABELS)
    assert torch.equal(untrained, torch.zeros(3, 3, size, size))
    wide = build(injection)(torch.randn(2, 3, size, 2 * size), VARIANCE[:2], LABELS[:2])
    assert wide.shape == (2, 3, size, 2 * size)
    assert float(wide.detach().abs().min()) > 0


@pytest.mark.parametrize("injection", INJECTIONS)
def test_noise_level_and_label_reach_every_pixel(injection: Injection) -> None:
    network = build(injection).eval()
    with torch.inference_mode():
        base = network(images(), VARIANCE, LABELS)
        assert float((network(images(), VARIANCE + 0.05, LABELS) - base).abs().min()) > 0
        assert float((network(images(), VARIANCE, (LABELS + 1) % CLASSES) - base).abs().min()) > 0
        without = network(images(), VARIANCE, None)
        assert float((without - base).abs().min()) > 0
        assert torch.equal(without, network(images(), VARIANCE, torch.full((3,), CLASSES)))


@pytest.mark.parametrize("injection", INJECTIONS)
def test_an_unconditional_network_has_no_labels(injection: Injection) -> None:
    network = build(injection, num_classes=0).eval()
    assert network.label_embedding is None
    assert network(images(), VARIANCE, None).shape == (3, 3, 16, 16)


@pytest.mark.parametrize("injection", INJECTIONS)
def test_images_do_not_see_one_another(injection: Injection) -> None:
    network = build(injection).eval()
    with torch.inference_mode():
        whole = network(images(), VARIANCE, LABELS)
        alone = torch.cat([network(images()[[i]], VARIANCE[[i]], LABELS[[i]]) for i in range(3)])
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("injection", INJECTIONS)
def test_every_parameter_gets_a_gradient(injection: Injection) -> None:
    network = build(injection)
    network(images(), VARIANCE, LABELS).square().mean().backward()
    sizes = {name: gradient_size(parameter) for name, parameter in network.named_parameters()}
    assert {name for name, size in sizes.items() if not size > 1e-7} == set()


def gradient_size(parameter: nn.Parameter) -> float:
    assert parameter.grad is not None
    return float(parameter.grad.abs().max())


@pytest.mark.parametrize("injection", INJECTIONS)
def test_memory_layout_changes_nothing(injection: Injection) -> None:
    network = build(injection).eval()
    with torch.inference_mode():
        expected = network(images(), VARIANCE, LABELS)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        found = network(images().contiguous(memory_format=torch.channels_last), VARIANCE, LABELS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_first_form_averages_batches_and_the_later_form_does_not() -> None:
    """Batch norm keeps running statistics; group norm has no memory, so train and eval agree."""
    assert any(name.endswith("running_mean") for name in build("input").state_dict())
    later = build("every_block")
    assert not any(name.endswith("running_mean") for name in later.state_dict())
    with torch.inference_mode():
        assert torch.equal(later.train()(images(), VARIANCE, LABELS), later.eval()(images(), VARIANCE, LABELS))
