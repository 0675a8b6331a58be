"""What images and audio have in common: `Modality` for files and arrays, `Codec` for tensors. Imports no torch."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from linnet.errors import LinnetError
from linnet.modalities.statistics import Statistics
from linnet.modalities.summary import Summary

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Examples = NDArray[Any]  # what people look at or listen to: uint8 images [N, H, W, 3] or int16 waveforms [N, samples]


class Modality(ABC):
    """All that the stages need to know of images, or of audio. `linnet.modalities.dispatch` chooses one."""

    @property
    @abstractmethod
    def stored(self) -> tuple[tuple[int, ...], "np.dtype[Any]"]:
        """Shape and type of a training example as the dataset stores it."""

    @abstractmethod
    def preprocess(self, *, raw: Path, folder: Path, workers: int) -> "Preprocessed":
        """Write the arrays and the manifest of the raw data into the empty `folder`.

        Args:
            workers: processes that read files; the result does not depend on their number.

        Raises:
            RawDataError: the raw data is not in its layout, or lacks a split that the recipe takes.
        """

    @abstractmethod
    def codec(self, statistics: Statistics, device: "torch.device") -> "Codec":
        """The codec for a data set with these statistics."""


@dataclass(frozen=True)
class Rejected:
    """One line of rejected.csv: a file that the raw data lists and that cannot be used."""

    number: int  # of the image or recording in the raw data
    name: str
    reason: str


@dataclass(frozen=True)
class Preprocessed:
    """The arrays are written; `measure` does the rest once the counts have been found good."""

    num_listed: int  # files that the raw data lists
    train_count: int  # examples
    test_count: int
    rejected: list[Rejected]
    measure: Callable[[], tuple[Statistics, Summary]]  # needs two training examples or more


class NotFiniteError(LinnetError):
    """The network's output holds infinite or undefined values: it can be neither looked at nor played."""


class Codec(Protocol):
    """Converts between examples as a dataset stores them and the standardized tensors x [B, C, H, W] of the network.

    In between lie *features*: float32 [B, C, H, W] before standardization, pixels in 0..1 or spectrograms as the STFT
    gives them. H and W are height and width of an image, or frequencies and frames of a spectrogram.
    """

    def encode(self, stored: "Tensor") -> "Tensor":
        """A batch as the dataset stores it -> x, float32 [B, C, H, W]."""

    def decode(self, x: "Tensor") -> Examples:
        """X [B, C, H, W] -> images or waveforms, rounded and within range; W may be longer than in training.

        Raises:
            NotFiniteError: `x` holds infinite or undefined values.
        """

    def clip(self, x: "Tensor") -> "Tensor":
        """Clamp `x` to the range that training examples have; the shape stays."""

    def standardize(self, features: "Tensor") -> "Tensor":
        """Features [..., C, H, W] -> x of the same shape."""

    def unstandardize(self, x: "Tensor") -> "Tensor":
        """X [..., C, H, W] -> features of the same shape; undoes `standardize`."""

    def average(self, samples: "Tensor") -> "Tensor":
        """Posterior samples x [K, B, C, H, W] of the same examples -> the one estimate [B, C, H, W] they agree on."""

    def preview(self, examples: Examples) -> NDArray[np.uint8]:
        """Decoded examples [N, ...] as images [N, H, W, 3]: audio as pictures of its spectrograms."""

    def thumbnails(self, examples: Examples) -> NDArray[np.uint8]:
        """Like `preview`, but no larger than the search for near duplicates needs."""


def check_finite(x: "Tensor", what: str) -> None:
    """Raise NotFiniteError if `x` holds infinite or undefined values; `what` is the plural that the message names."""
    if not bool(x.isfinite().all()):
        raise NotFiniteError(
            f"the model made infinite or undefined {what}: set clip_x0 = true, use more sampling steps or precision = "
            "'fp32', or train longer"
        )
