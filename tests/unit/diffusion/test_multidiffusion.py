"""Windows that overlap: where they lie, that their weights sum to one, and what cutting and blending leaves alone."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from linnet.diffusion.multidiffusion import blending_weights, window_starts, windowed

SIZE = (4, 6)


def pointwise(x: Tensor, timestep: int) -> Tensor:
    return torch.tanh(2 * x) + timestep


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("length", "size", "overlap_fraction", "wanted"),
    [
        (8, 8, 0.5, [0]),
        (9, 8, 0.5, [0, 1]),
        (16, 8, 0.5, [0, 4, 8]),
        (17, 8, 0.5, [0, 4, 8, 9]),
        (16, 8, 0.0, [0, 8]),
        (10, 4, 0.9, [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_starts(length: int, size: int, overlap_fraction: float, wanted: list[int]) -> None:
    assert window_starts(length, size, overlap_fraction) == wanted


@pytest.mark.parametrize("overlap_fraction", [0.0, 0.1, 0.25, 0.5, 0.8])
@pytest.mark.parametrize("length", [16, 17, 31, 64, 100])
def test_windows_cover_everything_and_overlap_enough(length: int, overlap_fraction: float) -> None:
    starts = window_starts(length, 16, overlap_fraction)
    assert starts[0] == 0
    assert starts[-1] + 16 == length
    steps = torch.tensor(starts).diff()
    assert (steps > 0).all()
    assert (steps <= round(16 * (1 - overlap_fraction))).all()


@pytest.mark.parametrize("overlap_fraction", [0.0, 0.25, 0.5])
def test_weights_sum_to_one_and_fall_off_to_the_borders(overlap_fraction: float) -> None:
    starts = window_starts(53, 16, overlap_fraction)
    weights, total = blending_weights(53, 16, starts), torch.zeros(53, dtype=torch.float64)
    assert (weights > 0).all()
    for start, row in zip(starts, weights, strict=True):
        total[start : start + 16] += row
    torch.testing.assert_close(total, torch.ones(53, dtype=torch.float64))
    first, second = blending_weights(24, 16, [0, 8])
    assert (first[8:].diff() < 0).all()  # gives way
    assert (second[:8].diff() > 0).all()  # to the next one
    assert first[-1] < 0.02
    assert first[:8].tolist() == [1] * 8


@pytest.mark.parametrize("shape", [(4, 6), (4, 20), (11, 6), (9, 31), (5, 7)])
@pytest.mark.parametrize("max_batch", [1, 3, 100])
def test_windows_change_nothing_where_pixels_are_predicted_apart(shape: tuple[int, int], max_batch: int) -> None:
    x = normal(2, 3, *shape)
    found = windowed(pointwise, SIZE, 0.5, max_batch=max_batch)(x, 7)
    torch.testing.assert_close(found, pointwise(x, 7), rtol=1e-6, atol=2e-6)


def test_the_trained_size_goes_through_bit_for_bit() -> None:
    def keep(x: Tensor, timestep: int) -> Tensor:
        return x

    x = normal(5, 3, *SIZE)
    assert windowed(keep, SIZE, 0.5, max_batch=2)(x, 0) is x


def test_the_predictor_sees_windows_of_the_trained_size_only() -> None:
    shapes = list[tuple[int, ...]]()

    def watch(x: Tensor, timestep: int) -> Tensor:
        shapes.append(tuple(x.shape))
        return x

    windowed(watch, SIZE, 0.5, max_batch=4)(normal(2, 3, 6, 12), 0)  # 2 x 3 windows of 2 images
    assert shapes == [(4, 3, 4, 6)] * 3


def smooth(x: Tensor, timestep: int) -> Tensor:
    """Looks at neighbours, and finds zeros outside its window."""
    return F.avg_pool2d(x, 3, stride=1, padding=1)


def test_moving_the_image_by_a_stride_moves_the_prediction() -> None:
    """Borders of windows show in neither or in both, so all but the ends of the image moves along."""
    x = normal(1, 1, 4, 6 + 3 * 8)
    predict = windowed(smooth, SIZE, 0.5)
    before, after = predict(x, 0), predict(x.roll(3, dims=-1), 0)
    torch.testing.assert_close(after[..., 6 + 3 : -6], before[..., 6:-9], rtol=1e-6, atol=1e-6)


def test_borders_of_windows_are_blended_away() -> None:
    """Against a prediction of the whole: each window errs at its border, where its weight is least."""
    x = normal(1, 1, 32, 32) + 3
    inside = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    apart, blended = windowed(smooth, (16, 16), 0.0)(x, 0), windowed(smooth, (16, 16), 0.5)(x, 0)
    worst, better = ((found - smooth(x, 0))[inside].abs().max() for found in (apart, blended))
    assert worst > 0.5
    assert better < worst / 10


def test_a_image_smaller_than_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="5 is shorter than a window of 6"):
        windowed(pointwise, SIZE, 0.5)(normal(1, 1, 8, 5), 0)
