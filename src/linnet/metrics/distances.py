"""Frechet and kernel distances between two sets of features, in float64.

In Inception's features they are FID (Heusel et al. 2017) and KID (Binkowski et al. 2018), in VGGish's FAD (Kilgour et
al. 2019) and KAD (Chung et al. 2025). torchmetrics computes FID and KID with a network that turns images into features;
here the features are made once, elsewhere, and pass through unchanged. KAD is not in torchmetrics.

Features [N, R, d] are R rows of each of N examples, such as the segments of long audio: distances pool all rows, but
rows of one example are not independent. [N, d] is one row of each.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

import numpy as np
import torch
from torch import Tensor, nn

from linnet.metrics.extractors.base import FeatureExtractor
from linnet.metrics.results import Interval
from linnet.recipe import EvaluateSection, metric_names

JACKKNIFE_GROUPS = 10
NORMAL_95 = 1.96
AUDIO_SCALE = 100.0  # the authors' toolkit reports 100 times the squared MMD
BANDWIDTH_ROWS = 4096  # the median is of their 8 million distances; of a larger real set only so many rows are taken
CHUNK_ROWS = 1024


@dataclass(frozen=True)
class Distance(ABC):
    """Between the features of real and of generated examples, under the name it is reported by."""

    name: str

    @abstractmethod
    def from_real(self, real: Tensor) -> Callable[[Tensor], float]:
        """The distance of generated features [M, S, d] from `real` [N, R, d], whose own part is computed once."""

    def __call__(self, real: Tensor, generated: Tensor) -> float:
        """The distance of `generated` [M, S, d] from `real` [N, R, d]."""
        return self.from_real(real)(generated)

    def protocol(self, real: Tensor, generated: Tensor) -> str:
        """What decides the number besides the features and the examples; "" for nothing."""
        return ""


class FrechetDistance(Distance):
    """Squared Frechet distance between the Gaussians fitted to all rows, through torchmetrics."""

    def from_real(self, real: Tensor) -> Callable[[Tensor], float]:
        """Of any number of rows."""
        from torchmetrics.image.fid import FrechetInceptionDistance

        def distance(generated: Tensor) -> float:
            metric = FrechetInceptionDistance(feature=_PassThrough(real.shape[-1])).set_dtype(torch.float64)
            metric.update(real.flatten(0, -2).double(), real=True)
            metric.update(generated.flatten(0, -2).double(), real=False)
            return float(metric.compute())

        return distance


@dataclass(frozen=True)
class KernelDistance(Distance):
    """Mean over random subsets of the squared MMD with the kernel (x.y / d + 1)^3, through torchmetrics."""

    subsets: int
    subset_size: int
    seed: int

    def from_real(self, real: Tensor) -> Callable[[Tensor], float]:
        """Of one row of each example: subsets are of rows."""
        from torchmetrics.image.kid import KernelInceptionDistance

        def distance(generated: Tensor) -> float:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance` will save")  # as it should
                metric = KernelInceptionDistance(
                    feature=_PassThrough(real.shape[-1]), subsets=self.subsets, subset_size=self._size(real, generated)
                )
            metric.set_dtype(torch.float64)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)  # torchmetrics draws its subsets from the global CPU generator
                metric.update(real.flatten(0, -2).double(), real=True)
                metric.update(generated.flatten(0, -2).double(), real=False)
                mean, _ = metric.compute()
            return float(mean)

        return distance

    def protocol(self, real: Tensor, generated: Tensor) -> str:
        """How many subsets there are, and how large they are."""
        return f"{self.subsets} subsets of {self._size(real, generated)}"

    def _size(self, real: Tensor, generated: Tensor) -> int:
        return min(self.subset_size, len(real), len(generated))


class KernelAudioDistance(Distance):
    """100 times the unbiased squared MMD with a Gaussian kernel as wide as the real set's median distance.

    The estimate of Gretton et al. 2012, eq. 3 (with mean zero where the distributions are equal) with the kernel
    exp(-|x - y|^2 / (2 b^2)), b the median distance between two different rows of the real set (Chung et al. 2025).
    Pairs of rows of one example are left out, which keeps it unbiased; the authors' toolkit counts them. It also takes
    b of the generated set, against its own documentation (its issue 9); then every model would be measured with another
    kernel. At most 1,024 rows of distances are in memory.
    """

    def from_real(self, real: Tensor) -> Callable[[Tensor], float]:
        """With the bandwidth and the mean kernel within `real`, which every call shares."""
        real = real.double()
        bandwidth = _median_distance(real.flatten(0, -2))
        within_real = _mean_kernel_within(real, bandwidth)

        def distance(generated: Tensor) -> float:
            ours, theirs = real.flatten(0, -2), generated.to(real).flatten(0, -2)
            across = _sum_kernel(ours, theirs, bandwidth) / (len(ours) * len(theirs))
            return AUDIO_SCALE * (within_real + _mean_kernel_within(generated.to(real), bandwidth) - 2 * across)

        return distance

    def protocol(self, real: Tensor, generated: Tensor) -> str:
        """The estimate and its kernel."""
        return (
            "100 x unbiased squared MMD, pairs within one example left out, exp(-d^2 / 2 b^2), b the median distance "
            "within the real set"
        )


def build_distances(extractor: FeatureExtractor, section: EvaluateSection) -> tuple[Distance, ...]:
    """The distances that are measured in the extractor's features, under their names.

    With other weights than the published ones they are not called FID, KID, FAD or KAD. Which weights those are stands
    in the protocol: a name that a recipe's gate can ask for holds no hash.
    """
    frechet, kernel = metric_names(extractor.name, is_published=extractor.is_published)
    match extractor.modality:
        case "images":
            subsets, size = section.kernel_subsets, section.kernel_subset_size
            return FrechetDistance(frechet), KernelDistance(kernel, subsets, size, section.seed)
        case "audio":
            return FrechetDistance(frechet), KernelAudioDistance(kernel)
        case _:
            assert_never(extractor.modality)


class _PassThrough(nn.Module):
    """What torchmetrics takes for its feature network."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def _median_distance(x: Tensor) -> float:
    """Between different rows, of two middle ones the lower; of a large set between `BANDWIDTH_ROWS` rows of it."""
    rows = torch.linspace(0, len(x) - 1, min(len(x), BANDWIDTH_ROWS), dtype=torch.float64).round().long()
    return float(torch.pdist(x[rows.to(x.device)]).median())


def _mean_kernel_within(x: Tensor, bandwidth: float) -> float:
    """Over pairs of rows of different examples."""
    assert len(x) > 1, "an unbiased estimate needs two"
    rows, examples = x.flatten(0, -2), x.reshape(len(x), -1, x.shape[-1])
    same_example = sum(_sum_kernel(example, example, bandwidth) for example in examples)
    return (_sum_kernel(rows, rows, bandwidth) - same_example) / (len(x) * (len(x) - 1) * examples.shape[1] ** 2)


def _sum_kernel(a: Tensor, b: Tensor, bandwidth: float) -> float:
    # Where most real rows are equal the bandwidth is 0, and the kernel its limit: 1 for equal rows and 0 for others.
    scale = max(bandwidth, torch.finfo(torch.float64).tiny ** 0.5)
    total = 0.0
    for chunk in torch.split(a, CHUNK_ROWS):
        # By differences: the faster matrix product would not give 0 for equal rows.
        ratio = torch.cdist(chunk, b, compute_mode="donot_use_mm_for_euclid_dist") / scale
        total += float(torch.exp(ratio.square() / -2).sum())
    return total


def jackknife(distance: Callable[[Tensor], float], value: float, generated: Tensor) -> Interval:
    """The 95 % interval around `value`, from how far it moves when a tenth of the generated examples is left out.

    Delete-a-group jackknife (Kott 2001): variance = (g - 1) / g * sum (theta_i - mean theta)^2 over g groups. An
    example of `generated` [N, ...] is left out with all its rows.
    """
    groups = torch.arange(len(generated)) % JACKKNIFE_GROUPS
    left_out = np.array([distance(generated[groups != group]) for group in range(JACKKNIFE_GROUPS)])
    scale = (JACKKNIFE_GROUPS - 1) / JACKKNIFE_GROUPS
    half = NORMAL_95 * float(np.sqrt(scale * ((left_out - left_out.mean()) ** 2).sum()))
    return Interval(low=value - half, high=value + half)
