"""Several channels as one: their mean, but for those that cancel one another in it."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

CANCELLING = 0.25  # of the power that the mean of unrelated channels has; two equal ones have it at correlation -0.75
EMPTY = 1e-6  # of the loudest channel's power: only there because a recorder writes so many channels
CANCELLING_BLOCK = 0.1  # the same of a moment; stereo of two microphones comes below 0.25 now and then
PARTLY_CANCELLING = 0.05  # of a recording's duration: this much is said
AUDIBLE_BLOCK = 1e-3  # of the recording's power: softer blocks say nothing about its channels


@dataclass
class ChannelStatistics:
    """How the channels of a recording that passes by in blocks go together. Constant offsets do not count."""

    counts: list[int] = field(default_factory=list)
    means: list[NDArray[np.float64]] = field(default_factory=list)  # [C] of each block
    scatters: list[NDArray[np.float64]] = field(default_factory=list)  # [C, C] of each block, around its means

    def add(self, block: NDArray[np.float64]) -> None:
        """Count the samples [C, n]."""
        mean = block.mean(axis=1)
        around = block - mean[:, None]
        self.counts.append(block.shape[1])
        self.means.append(mean)
        self.scatters.append(around @ around.T)

    def covariance(self) -> NDArray[np.float64]:
        """[C, C] of all samples."""
        counts, means = np.array(self.counts), np.stack(self.means)
        away = means - counts @ means / counts.sum()
        covariance: NDArray[np.float64] = (np.sum(self.scatters, axis=0) + (counts * away.T) @ away) / counts.sum()
        return covariance

    def cancelling_fraction(self) -> float:
        """Of the duration, where two channels cancel each other."""
        counts, scatters = np.array(self.counts), np.stack(self.scatters)
        power = np.diagonal(scatters, axis1=1, axis2=2)  # [blocks, C]
        audible = power.sum(axis=1) > AUDIBLE_BLOCK * counts * power.sum() / counts.sum()
        sums = power[:, :, None] + power[:, None, :]
        cancels = (sums + 2 * scatters < CANCELLING_BLOCK * sums).any(axis=(1, 2))
        return float(counts[cancels & audible].sum() / counts.sum())


def channels_to_mix(covariance: NDArray[np.float64]) -> tuple[int, ...]:
    """The channels whose mean stands for all: all of them, unless some are empty or cancel one another.

    Of two channels whose mean has less than a quarter of the power that it would have if they were unrelated, the
    louder one is kept. If the rest still cancels as a whole, only the loudest is.
    """
    kept: list[int] = []
    power = np.diagonal(covariance)
    if not power.any():
        return tuple(range(len(power)))
    for channel in np.argsort(-power, kind="stable").tolist():
        if power[channel] <= EMPTY * power.max():
            continue
        if not any(_cancel(covariance, [channel, other]) for other in kept):
            kept.append(channel)
    return tuple(kept[:1] if _cancel(covariance, kept) else sorted(kept))


def describe_cancelling(covariance: NDArray[np.float64], kept: tuple[int, ...]) -> str:
    """For people: why only the channels `kept` are in the mix."""
    power = np.diagonal(covariance)
    num_empty = int((power <= EMPTY * power.max()).sum())
    names = ", ".join(str(channel + 1) for channel in kept)
    if len(kept) == len(power) - num_empty:
        return f"{num_empty} of {len(power)} channels are empty and left out; taken: {names}"
    deviations = np.sqrt(power)
    scale = np.outer(deviations, deviations)
    least = float(np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0).min())
    said = f"channels cancel (correlation {least:.2f})"
    if len(covariance) == 2:
        return f"{said}: the louder one is taken, channel {kept[0] + 1}"
    return f"{said}: of {len(covariance)} channels {len(kept)} {'is' if len(kept) == 1 else 'are'} taken ({names})"


def _cancel(covariance: NDArray[np.float64], channels: list[int]) -> bool:
    part = covariance[np.ix_(channels, channels)]
    return len(channels) > 1 and bool(part.mean() < CANCELLING * np.trace(part) / len(channels) ** 2)
