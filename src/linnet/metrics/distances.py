"""Frechet and kernel distances between two sets of features, through torchmetrics, in float64.

In Inception's features they are FID (Heusel et al. 2017) and KID (Binkowski et al. 2018). torchmetrics takes a network
that turns pictures into features; here the features are made once, elsewhere, and pass through unchanged.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

JACKKNIFE_GROUPS = 10
NORMAL_95 = 1.96


class _PassThrough(nn.Module):
    """What torchmetrics takes for its feature network."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(real: Tensor, generated: Tensor) -> float:
    """Squared Frechet distance between the Gaussians fitted to features [N, d] and [M, d] (FID in Inception's)."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_PassThrough(real.shape[1])).set_dtype(torch.float64)
    metric.update(real.double(), real=True)
    metric.update(generated.double(), real=False)
    return float(metric.compute())


def kernel_distance(real: Tensor, generated: Tensor, *, subsets: int, subset_size: int, seed: int) -> float:
    """Mean over random subsets of the squared MMD with kernel (x.y / d + 1)^3 (KID in Inception's features)."""
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


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


def jackknife(distance: Callable[[Tensor], float], value: float, generated: Tensor) -> Interval:
    """Around `value`, how far the distance moves when a tenth of the generated features is left out.

    Delete-a-group jackknife (Kott 2001): variance = (g - 1) / g * sum (theta_i - mean theta)^2 over g groups.
    """
    groups = torch.arange(len(generated)) % JACKKNIFE_GROUPS
    left_out = np.array([distance(generated[groups != group]) for group in range(JACKKNIFE_GROUPS)])
    scale = (JACKKNIFE_GROUPS - 1) / JACKKNIFE_GROUPS
    half = NORMAL_95 * float(np.sqrt(scale * ((left_out - left_out.mean()) ** 2).sum()))
    return Interval(value - half, value + half)
