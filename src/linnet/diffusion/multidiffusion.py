"""Examples larger than the network was trained on: overlapping windows, predicted apart and blended.

MultiDiffusion (Bar-Tal et al. 2023, eq. 5): of all predictions the one closest to those of the windows is their
weighted mean. The weights of a window fall off smoothly to its borders, and those of all windows sum to one everywhere.
"""

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from linnet.diffusion.samplers import PredictX0


def window_starts(length: int, size: int, overlap_fraction: float) -> list[int]:
    """Where windows of `size` begin: overlapping by `overlap_fraction` of it, the last one more, to end at the end.

    Raises:
        ValueError: the window is longer than what it should be cut from; the caller pads.
    """
    if length < size:
        raise ValueError(f"{length} is shorter than a window of {size}: pad it before it is restored")
    assert 0 <= overlap_fraction < 1, f"an overlap of {overlap_fraction} never moves on"
    stride = max(1, round(size * (1 - overlap_fraction)))
    return [*range(0, length - size, stride), length - size]


def blending_weights(length: int, size: int, starts: list[int]) -> Tensor:
    """[len(starts), size], float64: raised cosines, divided by their sum at each of the `length` positions."""
    positions = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    bump = torch.sin(math.pi * positions) ** 2
    total = torch.zeros(length, dtype=torch.float64)
    for start in starts:
        total[start : start + size] += bump
    return torch.stack([bump / total[start : start + size] for start in starts])


def windowed(
    predict_x0: PredictX0, size: tuple[int, int], overlap_fraction: float, *, max_batch: int = 16
) -> PredictX0:
    """A predictor for x [B, C, H, W] with H and W of at least `size`, made of one for that size only.

    x of the trained size goes through unchanged, bit for bit.

    Args:
        predict_x0: for [any multiple of B, C, *size]: the same window of each of the B examples in turn.
        size: trained height and width.
        overlap_fraction: of neighbouring windows, at least, along each axis that is longer than its size.
        max_batch: windows predicted at once, or one of each example, if that is more.

    Raises:
        ValueError: from the predictor, where x is smaller than `size`.
    """
    areas: dict[torch.Size, list[_Area]] = {}  # by shape of x, so that weights are made and copied once

    def predict(x: Tensor, timestep: int) -> Tensor:
        if tuple(x.shape[-2:]) == size:
            return predict_x0(x, timestep)
        if x.shape not in areas:
            areas[x.shape] = _areas(x, size, overlap_fraction)
        blend = torch.zeros_like(x)
        step = max(1, max_batch // len(x)) * len(x)
        for first in range(0, len(areas[x.shape]), step):
            batch = areas[x.shape][first : first + step]
            windows = torch.stack([x[area.example, :, area.rows, area.columns] for area in batch])
            for area, prediction in zip(batch, predict_x0(windows, timestep), strict=True):
                blend[area.example, :, area.rows, area.columns] += area.weights * prediction
        return blend

    return predict


class _Area(NamedTuple):
    """A window of one example."""

    example: int
    rows: slice
    columns: slice
    weights: Tensor  # [height, width] of a window


def _areas(x: Tensor, size: tuple[int, int], overlap_fraction: float) -> list[_Area]:
    tops, lefts = (
        window_starts(length, part, overlap_fraction) for length, part in zip(x.shape[-2:], size, strict=True)
    )
    rows = blending_weights(x.shape[-2], size[0], tops).to(x)
    columns = blending_weights(x.shape[-1], size[1], lefts).to(x)
    return [
        _Area(example, slice(top, top + size[0]), slice(left, left + size[1]), row[:, None] * column)
        for (top, row), (left, column) in itertools.product(
            zip(tops, rows, strict=True), zip(lefts, columns, strict=True)
        )
        for example in range(len(x))
    ]
