"""Each operator against its matrix, in float64: forward, adjoint, the factors of H = U S V^T and the pseudo-inverse."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from linnet.diffusion.operators import (
    Axis,
    BlockAverage,
    FrequencyConvolution,
    Identity,
    LinearOperator,
    Mask,
    RowScaled,
    to_channels,
    to_complex,
)

GENERATOR = torch.Generator().manual_seed(0)
SPECTROGRAM = (2, 3, 5)  # channels, frequencies, frames


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


FILTERS = torch.complex(normal(3, 4), normal(3, 4))
PIXELS = normal(3, 4, 4) > 0
BINS = torch.tensor([True, False, True])[None, :, None]
FRAMES = torch.tensor([True, True, False, False, True])
TWO_ALIKE = torch.ones(
    3, 2, dtype=torch.complex128
)  # h = (1, 1): the fastest change over an even number of frames is lost
SCALE = torch.tensor([0.5, 2.0, 3.0])[None, :, None]


class Rotation(LinearOperator):
    """A made-up operator that mixes channels: y is x turned by a rotation, U is that rotation and V = S = 1."""

    mixed_axes: tuple[Axis, ...] = (-3,)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([0.6 * x[:, 0] - 0.8 * x[:, 1], 0.8 * x[:, 0] + 0.6 * x[:, 1]], dim=1)

    def adjoint(self, y: Tensor) -> Tensor:
        return torch.stack([0.6 * y[:, 0] + 0.8 * y[:, 1], 0.6 * y[:, 1] - 0.8 * y[:, 0]], dim=1)

    def to_spectral(self, x: Tensor) -> Tensor:
        return x

    def from_spectral(self, z: Tensor) -> Tensor:
        return z

    def observation_to_spectral(self, y: Tensor) -> Tensor:
        return self.adjoint(y)

    def singular_values(self, shape: tuple[int, ...]) -> Tensor:
        return torch.ones(1, 1, 1, dtype=torch.float64)


class Sum(Rotation):
    """The sum of the channels as the only one, by an author who says that nothing is mixed."""

    mixed_axes: tuple[Axis, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(dim=1, keepdim=True)


PER_CHANNEL = torch.tensor([1.0, 2.0])[:, None, None]
CASES: dict[str, tuple[LinearOperator, tuple[int, ...]]] = {
    "identity": (Identity(), SPECTROGRAM),
    "mask of pixels": (Mask(PIXELS), (3, 4, 4)),
    "mask of bins": (Mask(BINS), SPECTROGRAM),
    "mask of frames": (Mask(FRAMES), SPECTROGRAM),
    "means of 2 x 2": (BlockAverage(2), (3, 4, 6)),
    "means of 3 x 3": (BlockAverage(3), (1, 6, 3)),
    "convolution": (FrequencyConvolution(FILTERS), SPECTROGRAM),
    "convolution with a zero": (FrequencyConvolution(TWO_ALIKE), (2, 3, 4)),
    "scaled identity": (RowScaled(Identity(), normal(2, 3, 1).exp()), SPECTROGRAM),
    "scaled mask": (RowScaled(Mask(FRAMES), normal(2, 3, 1).exp()), SPECTROGRAM),
    "scaled means": (RowScaled(BlockAverage(2), normal(3, 1, 1).exp()), (3, 4, 6)),
    "scaled convolution": (RowScaled(FrequencyConvolution(FILTERS), SCALE), SPECTROGRAM),
    "rotated channels": (Rotation(), SPECTROGRAM),
    "scaled rotated channels": (RowScaled(Rotation(), SCALE), SPECTROGRAM),
}
each = pytest.mark.parametrize(("operator", "shape"), CASES.values(), ids=CASES.keys())


def matrix(linear: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Tensor:
    """The columns are the answers to unit vectors, asked all at once."""
    return linear(torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)).flatten(1).T


def observation_shape(operator: LinearOperator, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(operator.forward(torch.zeros(1, *shape, dtype=torch.float64)).shape[1:])


def singular_values(operator: LinearOperator, shape: tuple[int, ...]) -> Tensor:
    return operator.singular_values((1, *shape)).expand(1, *shape).flatten()


@each
def test_adjoint(operator: LinearOperator, shape: tuple[int, ...]) -> None:
    forward = matrix(operator.forward, shape)
    adjoint = matrix(operator.adjoint, observation_shape(operator, shape))
    torch.testing.assert_close(adjoint, forward.T)


@each
def test_factors_are_orthogonal(operator: LinearOperator, shape: tuple[int, ...]) -> None:
    v_transposed, v = matrix(operator.to_spectral, shape), matrix(operator.from_spectral, shape)
    torch.testing.assert_close(v_transposed @ v_transposed.T, torch.eye(len(v), dtype=torch.float64))
    torch.testing.assert_close(v, v_transposed.T)
    u_transposed = matrix(operator.observation_to_spectral, observation_shape(operator, shape))
    observed = (singular_values(operator, shape) > 0).to(torch.float64)
    torch.testing.assert_close(u_transposed @ u_transposed.T, torch.diag(observed))


@each
def test_product_of_the_factors(operator: LinearOperator, shape: tuple[int, ...]) -> None:
    u = matrix(operator.observation_to_spectral, observation_shape(operator, shape)).T
    singular, v_transposed = singular_values(operator, shape), matrix(operator.to_spectral, shape)
    assert singular.dtype == torch.float64
    torch.testing.assert_close(u @ torch.diag(singular) @ v_transposed, matrix(operator.forward, shape))


@each
def test_pseudo_inverse(operator: LinearOperator, shape: tuple[int, ...]) -> None:
    wanted = torch.linalg.pinv(matrix(operator.forward, shape), rtol=1e-9)
    torch.testing.assert_close(matrix(operator.pseudo_inverse, observation_shape(operator, shape)), wanted)


def test_masks_keep_what_is_true() -> None:
    assert torch.equal(matrix(Mask(PIXELS).forward, (3, 4, 4)), torch.diag(PIXELS.flatten().double()))
    x = normal(1, *SPECTROGRAM)
    assert torch.equal(Mask(BINS).forward(x)[:, :, 1], torch.zeros(1, 2, 5, dtype=torch.float64))
    assert torch.equal(Mask(FRAMES).forward(x)[..., FRAMES], x[..., FRAMES])


def test_a_mask_hides_what_is_not_a_number() -> None:
    assert torch.equal(Mask(torch.tensor([True, False])).forward(torch.tensor([1.0, math.nan])), torch.tensor([1.0, 0]))


def test_block_means() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert BlockAverage(2).forward(x).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_convolution_is_the_sum_over_taps() -> None:
    x = torch.complex(normal(2, 3, 5), normal(2, 3, 5))
    wanted = torch.zeros_like(x)
    for t in range(5):
        for k in range(4):
            wanted[..., t] += FILTERS[:, k] * x[..., (t - k) % 5]
    torch.testing.assert_close(to_complex(FrequencyConvolution(FILTERS).forward(to_channels(x))), wanted)


def test_every_example_may_have_its_own_filters() -> None:
    filters, x = torch.complex(normal(2, 3, 4), normal(2, 3, 4)), normal(2, *SPECTROGRAM)
    together = FrequencyConvolution(filters)
    y = together.forward(x)
    for index in range(2):
        alone = FrequencyConvolution(filters[index])
        torch.testing.assert_close(y[index : index + 1], alone.forward(x[index : index + 1]))
        torch.testing.assert_close(
            together.singular_values((2, *SPECTROGRAM))[index], alone.singular_values((1, *SPECTROGRAM))
        )
    torch.testing.assert_close(together.pseudo_inverse(y), x)


def test_coordinates_lost_in_rounding_are_not_observed() -> None:
    """h = (1, 1 + 1e-6) leaves 5e-7 of the fastest change: too little to divide by in float32."""
    filters = torch.tensor([[1, 1 + 1e-6], [1, 0.9]], dtype=torch.complex128)
    singular = FrequencyConvolution(filters).singular_values((1, 2, 2, 4)).flatten(1)[0]
    assert singular[2] == 0
    assert singular.count_nonzero() == 7


def test_scaling_whitens_noise() -> None:
    """y = H x + n / scale, times scale, is the scaled operator's observation with noise n."""
    x, n = normal(1, *SPECTROGRAM), normal(1, *SPECTROGRAM)
    plain = FrequencyConvolution(FILTERS)
    torch.testing.assert_close(
        SCALE * (plain.forward(x) + n / SCALE), RowScaled(plain, SCALE).forward(x) + n, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(
    ("operator", "scale"),
    [
        (FrequencyConvolution(FILTERS), PER_CHANNEL),
        (Rotation(), PER_CHANNEL),
        (RowScaled(Rotation(), SCALE), PER_CHANNEL),
        (BlockAverage(2), torch.tensor([1.0, 2.0])[None, :, None]),
        (Identity(), torch.ones(1, 1, 5)),
        (Identity(), torch.zeros(1, 1, 1)),
    ],
    ids=[
        "differs where mixed",
        "differs over channels",
        "differs over channels of a scaled one",
        "differs within blocks",
        "over time",
        "zero",
    ],
)
def test_a_scale_that_does_not_commute_is_our_bug(operator: LinearOperator, scale: Tensor) -> None:
    with pytest.raises(AssertionError, match="scale"):
        RowScaled(operator, scale)


def test_a_scale_of_x_does_not_widen_an_observation_with_fewer_channels() -> None:
    with pytest.raises(AssertionError, match="does not fit y"):
        RowScaled(Sum(), PER_CHANNEL).forward(normal(1, *SPECTROGRAM))


def test_an_operator_must_say_what_it_mixes() -> None:
    class Forgetful(Rotation):
        mixed_axes = LinearOperator.mixed_axes

    with pytest.raises(TypeError, match=r"abstract.*mixed_axes"):
        Forgetful()


def test_more_taps_than_frames_are_our_bug() -> None:
    with pytest.raises(AssertionError, match="taps"):
        FrequencyConvolution(FILTERS).forward(torch.zeros(1, 2, 3, 3))


@each
def test_float32_stays_float32(operator: LinearOperator, shape: tuple[int, ...]) -> None:
    x = normal(2, *shape).float()
    y = operator.forward(x)
    answers = [y, operator.adjoint(y), operator.to_spectral(x), operator.from_spectral(x), operator.pseudo_inverse(y)]
    assert {answer.dtype for answer in [*answers, operator.observation_to_spectral(y)]} == {torch.float32}
    torch.testing.assert_close(y.double(), operator.forward(x.double()), rtol=1e-5, atol=1e-5)
