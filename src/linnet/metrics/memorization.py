"""Does a sample copy a training image? Nearest neighbours by small images."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

SIDE = 16
CHUNK = 2048


def nearest(
    queries: NDArray[np.uint8], train: NDArray[np.uint8], *, mirrored: bool
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """For each query image [Q, H, W, 3]: (root mean square difference, row) of the nearest training image.

    Both are compared as 16 x 16 area means in 0..1, the training images also left to right where that makes
    sense (`mirrored`). Memory is bounded by chunks.
    """
    small = _shrink(queries).flatten(1)
    best = torch.full((len(small),), float("inf"), dtype=torch.float64)
    row = torch.zeros(len(small), dtype=torch.int64)
    for start in range(0, len(train), CHUNK):
        candidates = _shrink(train[start : start + CHUNK])
        between = _distances(small, candidates)
        if mirrored:
            between = torch.minimum(between, _distances(small, candidates.flip(-1)))
        distance, place = between.min(dim=1)
        closer = distance < best
        best = torch.where(closer, distance, best)
        row = torch.where(closer, place + start, row)
    return (best / small.shape[1] ** 0.5).numpy(), row.numpy()


def _distances(small: Tensor, candidates: Tensor) -> Tensor:
    """[Q, N], by differences: the faster matrix product would not give 0 for equal images."""
    return torch.cdist(small, candidates.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")


def _shrink(images: NDArray[np.uint8]) -> Tensor:
    x = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).double() / 255
    return F.adaptive_avg_pool2d(x, SIDE)
