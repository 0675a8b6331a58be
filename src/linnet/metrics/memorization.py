"""Does a sample copy a training example? Nearest neighbours among small images."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from linnet.metrics.results import Memorization

SIDE = 16
CHUNK = 2048

Images = NDArray[np.uint8]  # [N, H, W, 3]


def memorization(
    samples: Images, held_out: Images, train: Images, *, mirrored: bool, num_pairs: int
) -> tuple[Memorization, list[tuple[int, int]]]:
    """How near samples come to the training examples, beside real examples that the model has never seen.

    Args:
        samples: samples, as images.
        held_out: real examples that are not in `train`.
        train: the training examples.
        mirrored: whether a copy turned left to right is a copy.
        num_pairs: how many samples to name.

    Returns:
        The median distances, and the samples that come nearest: (row of `samples`, row of `train`), nearest first.
    """
    distance, nearest_row = nearest(samples, train, mirrored=mirrored)
    real_distance, _ = nearest(held_out, train, mirrored=mirrored)
    medians = Memorization(sample_median=float(np.median(distance)), real_median=float(np.median(real_distance)))
    closest = np.argsort(distance, kind="stable")[:num_pairs]
    return medians, [(int(row), int(nearest_row[row])) for row in closest]


def nearest(queries: Images, train: Images, *, mirrored: bool) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """For each of `queries` [Q, H, W, 3]: (root mean square difference, row) of the nearest training image.

    Both are compared as 16 x 16 area means in 0..1, the training images also left to right where that makes sense
    (`mirrored`). Memory is bounded by chunks.
    """
    small = _shrink(queries).flatten(1)
    best = torch.full((len(small),), float("inf"), dtype=torch.float64)
    row = torch.zeros(len(small), dtype=torch.int64)
    for start in range(0, len(train), CHUNK):
        candidates = _shrink(train[start : start + CHUNK])
        distances = _distances(small, candidates)
        if mirrored:
            distances = torch.minimum(distances, _distances(small, candidates.flip(-1)))
        distance, index = distances.min(dim=1)
        closer = distance < best
        best = torch.where(closer, distance, best)
        row = torch.where(closer, index + start, row)
    return (best / small.shape[1] ** 0.5).numpy(), row.numpy()


def _distances(small: Tensor, candidates: Tensor) -> Tensor:
    """[Q, N], by differences: the faster matrix product would not give 0 for equal images."""
    return torch.cdist(small, candidates.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")


def _shrink(images: Images) -> Tensor:
    x = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).double() / 255
    return F.adaptive_avg_pool2d(x, SIDE)
