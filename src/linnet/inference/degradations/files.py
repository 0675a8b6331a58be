"""Degraded files that people bring, and what else a degradation needs to know of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linnet.data.audio_files.errors import UnreadableAudio
from linnet.data.audio_files.read import read_audio
from linnet.data.images import UnreadableFile, read_image
from linnet.errors import LinnetError
from linnet.recipe import Audio, Degradation


class RestorationError(LinnetError):
    """The file cannot be restored that way."""


@dataclass(frozen=True)
class RestorationInput:
    """The degraded file, and what goes with it."""

    file: Path
    impulse_response: Path | None = None  # a recording of the room's response to a click, for known_reverb
    mask: Path | None = None  # an image, white where pixels are missing, for inpaint_pixels

    def check(self, degradation: Degradation) -> None:
        """Raises RestorationError for a file that the degradation has no use for."""
        for option, path, kind in (
            ("--impulse-response", self.impulse_response, "known_reverb"),
            ("--mask", self.mask, "inpaint_pixels"),
        ):
            if path is not None and degradation.kind != kind:
                raise RestorationError(f"{option} is for {kind}; this degradation is {degradation.kind}")


def read_waveform(path: Path, data: Audio) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """The samples of a recording at the rate of `data`, and what was converted. Raises RestorationError."""
    try:
        decoded = read_audio(path, sample_rate_hz=data.sample_rate_hz)
    except UnreadableAudio as reason:
        raise RestorationError(f"{path}: {reason}") from None
    return decoded.samples, decoded.notes


def read_pixels(path: Path) -> Tensor:
    """uint8 [1, H, W, 3]. Raises RestorationError."""
    try:
        return torch.from_numpy(np.array(read_image(path)))[None]
    except UnreadableFile as reason:
        raise RestorationError(f"{path}: {reason}") from None
