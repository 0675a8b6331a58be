"""Frechet and kernel distances between two sets of features, through torchmetrics, in float64.

In Inception's features they are FID (Heusel et al. 2017) and KID (Binkowski et al. 2018). torchmetrics takes a network
that turns images into features; here the features are made once, elsewhere, and pass through unchanged. The
kernel audio distance (KAD in VGGish's features, Chung et al. 2025) is not in torchmetrics.

Features [N, R, d] are R rows of each of N examples, such as the segments of a long audio: distances pool all rows, but
rows of one example are not independent. [N, d] is one row of each.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

JACKKNIFE_GROUPS = 10
NORMAL_95 = 1.96
AUDIO_SCALE = 100.0  # the authors' toolkit reports 100 times the squared MMD
AUDIO_PROTOCOL = (
    "100 x unbiased squared MMD, pairs within an audio left out, exp(-d^2 / 2 b^2), b the median distance within the "
    "real set"
)
BANDWIDTH_ROWS = 4096  # the median is of their 8 million distances; a larger real set has it from a part
CHUNK_ROWS = 1024


class _PassThrough(nn.Module):
    """What torchmetrics takes for its feature network."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(real: Tensor, generated: Tensor) -> float:
    """Squared Frechet distance between the Gaussians fitted to the rows of features [N, R, d] and [M, S, d]."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_PassThrough(real.shape[-1])).set_dtype(torch.float64)
    metric.update(real.flatten(0, -2).double(), real=True)
    metric.update(generated.flatten(0, -2).double(), real=False)
    return float(metric.compute())


def kernel_distance(real: Tensor, generated: Tensor, *, subsets: int, subset_size: int, seed: int) -> float:
    """Mean over random subsets of [N, d] and [M, d] of the squared MMD with kernel (x.y / d + 1)^3."""
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(subset_size, len(real), len(generated))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance` will save")  # which is what we want
        metric = KernelInceptionDistance(feature=_PassThrough(real.shape[1]), subsets=subsets, subset_size=size)
    metric.set_dtype(torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # torchmetrics draws its subsets from the global CPU generator
        metric.update(real.double(), real=True)
        metric.update(generated.double(), real=False)
        mean, _ = metric.compute()
    return float(mean)


def kernel_audio_distance_to(real: Tensor) -> Callable[[Tensor], float]:
    """A function from generated features [M, S, d] to their KAD from `real` [N, R, d], whose own part is computed once.

    100 times the unbiased estimate of the squared MMD (Gretton et al. 2012, eq. 3; with mean zero where the
    distributions are equal) with the kernel exp(-|x - y|^2 / (2 b^2)), b the median distance between two different rows
    of `real` (Chung et al. 2025). Pairs of rows of one example are left out, which keeps it unbiased; the authors'
    toolkit counts them. It also takes b of the generated set, against its own documentation (its issue 9); then every
    model would be measured with another kernel. At most 1,024 rows of distances are in memory.
    """
    real = real.double()
    bandwidth = _median_distance(real.flatten(0, -2))
    within_real = _mean_kernel_within(real, bandwidth)

    def distance(generated: Tensor) -> float:
        ours, theirs = real.flatten(0, -2), generated.to(real).flatten(0, -2)
        across = _sum_kernel(ours, theirs, bandwidth) / (len(ours) * len(theirs))
        return AUDIO_SCALE * (within_real + _mean_kernel_within(generated.to(real), bandwidth) - 2 * across)

    return distance


def _median_distance(x: Tensor) -> float:
    """Between different rows; of two middle ones the lower. Of a larger set, `BANDWIDTH_ROWS` spread evenly over it."""
    rows = torch.linspace(0, len(x) - 1, min(len(x), BANDWIDTH_ROWS), dtype=torch.float64).round().long()
    return float(torch.pdist(x[rows.to(x.device)]).median())


def _mean_kernel_within(x: Tensor, bandwidth: float) -> float:
    """Over pairs of rows of different examples."""
    assert len(x) > 1, "an unbiased estimate needs two"
    rows, examples = x.flatten(0, -2), x.reshape(len(x), -1, x.shape[-1])
    of_one = sum(_sum_kernel(one, one, bandwidth) for one in examples)
    return (_sum_kernel(rows, rows, bandwidth) - of_one) / (len(x) * (len(x) - 1) * examples.shape[1] ** 2)


def _sum_kernel(a: Tensor, b: Tensor, bandwidth: float) -> float:
    # Where most real rows are equal the bandwidth is 0, and the kernel its limit: 1 for equal rows and 0 for others.
    scale = max(bandwidth, torch.finfo(torch.float64).tiny ** 0.5)
    total = 0.0
    for part in torch.split(a, CHUNK_ROWS):
        # By differences: the faster matrix product would not give 0 for equal rows.
        ratio = torch.cdist(part, b, compute_mode="donot_use_mm_for_euclid_dist") / scale
        total += float(torch.exp(ratio.square() / -2).sum())
    return total


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


def jackknife(distance: Callable[[Tensor], float], value: float, generated: Tensor) -> Interval:
    """Around `value`, how far the distance moves when a tenth of the generated examples [N, ...] is left out.

    Delete-a-group jackknife (Kott 2001): variance = (g - 1) / g * sum (theta_i - mean theta)^2 over g groups. An
    example is left out with all its rows.
    """
    groups = torch.arange(len(generated)) % JACKKNIFE_GROUPS
    left_out = np.array([distance(generated[groups != group]) for group in range(JACKKNIFE_GROUPS)])
    scale = (JACKKNIFE_GROUPS - 1) / JACKKNIFE_GROUPS
    half = NORMAL_95 * float(np.sqrt(scale * ((left_out - left_out.mean()) ** 2).sum()))
    return Interval(value - half, value + half)
