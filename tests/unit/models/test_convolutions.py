"""The convolutions computed in another way against torch's own, values and gradients."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from linnet.models.convolutions import LEAST_POSITIONS, DoublingConv, PointwiseConv


def _compare(layer: nn.Conv2d, plain: Callable[[Tensor], Tensor], x: Tensor, *, bf16: bool) -> None:
    """The layer's result, and its gradients by x, weight and bias, are those of `plain`."""
    assert layer.bias is not None
    weights = torch.randn_like(plain(x))
    found = []
    for function in (layer, plain):
        variables = [x.clone().requires_grad_(), layer.weight, layer.bias]
        with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            y = function(variables[0])
        assert y.dtype == (torch.bfloat16 if bf16 else torch.float64)
        scale = 1 / y.numel() ** 0.5
        found.append([y, *torch.autograd.grad((y * weights).sum() * scale, variables)])
    for ours, torchs in zip(*found, strict=True):
        assert ours.shape == torchs.shape
        assert_close(ours, torchs, rtol=0.02 if bf16 else 1e-9, atol=0.05 if bf16 else 1e-9)


@pytest.mark.parametrize("bf16", [False, True], ids=["fp64", "bf16"])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (8, 8)])
def test_a_doubling_convolution_convolves_repeated_pixels(size: tuple[int, int], bf16: bool) -> None:
    torch.manual_seed(0)
    layer = DoublingConv(6, 5).to(torch.float32 if bf16 else torch.float64)
    x = torch.randn(3, 6, *size, dtype=layer.weight.dtype)

    def plain(x: Tensor) -> Tensor:
        return F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), layer.weight, layer.bias, padding=1)

    _compare(layer, plain, x, bf16=bf16)


def test_a_single_pixel_doubles_into_known_sums() -> None:
    """x = 1 with the weights 1..9: each of the four pixels sees the weights that fall on any of the four."""
    layer = DoublingConv(1, 1)
    layer.weight.data = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    assert layer(torch.ones(1, 1, 1, 1)).tolist() == [
        [[[5 + 6 + 8 + 9, 4 + 5 + 7 + 8], [2 + 3 + 5 + 6, 1 + 2 + 4 + 5]]]
    ]


@pytest.mark.parametrize("bf16", [False, True], ids=["fp64", "bf16"])
@pytest.mark.parametrize("size", [(2, 3), (32, LEAST_POSITIONS // 32), (64, 48)])
def test_a_pointwise_convolution_is_a_convolution(size: tuple[int, int], bf16: bool) -> None:
    torch.manual_seed(0)
    layer = PointwiseConv(6, 5).to(torch.float32 if bf16 else torch.float64)
    x = torch.randn(3, 6, *size, dtype=layer.weight.dtype)
    _compare(layer, lambda x: F.conv2d(x, layer.weight, layer.bias), x, bf16=bf16)


@pytest.mark.parametrize(
    ("size", "bf16", "multiplies"), [((32, 32), True, True), ((32, 31), True, False), ((64, 64), False, False)]
)
def test_only_large_maps_in_16_bits_are_multiplied(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], bf16: bool, multiplies: bool
) -> None:
    called, multiply = [], torch.baddbmm

    def watched(*arguments: Tensor) -> Tensor:
        called.append(arguments)
        return multiply(*arguments)

    monkeypatch.setattr(torch, "baddbmm", watched)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        PointwiseConv(2, 3)(torch.zeros(1, 2, *size))
    assert bool(called) == multiplies


def test_they_are_stored_as_convolutions() -> None:
    assert {name: tuple(value.shape) for name, value in DoublingConv(2, 3).state_dict().items()} == {
        "weight": (3, 2, 3, 3),
        "bias": (3,),
    }
    assert {name: tuple(value.shape) for name, value in PointwiseConv(2, 3).state_dict().items()} == {
        "weight": (3, 2, 1, 1),
        "bias": (3,),
    }
