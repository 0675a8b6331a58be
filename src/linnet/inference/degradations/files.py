"""Degraded files that people bring, and what else a degradation needs to know of them."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from linnet.data.audio_files.errors import UnreadableAudio
from linnet.data.audio_files.read import DecodedAudio, read_audio
from linnet.data.image_files import UnreadableFile
from linnet.data.images import read_image
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


def read_waveform(path: Path, data: Audio) -> DecodedAudio:
    """A recording at the rate of `data`, and what was converted. Raises RestorationError."""
    try:
        return read_audio(path, sample_rate_hz=data.sample_rate_hz)
    except UnreadableAudio as reason:
        raise RestorationError(f"{path}: {reason}") from None


def noise_as_read(noise_std: float, audio: DecodedAudio, path: Path, data: Audio) -> tuple[float, tuple[str, ...]]:
    """The strength of noise in `audio` that is `noise_std` in the file's own samples, and what to say about it.

    It is scaled as the samples are. White noise keeps its strength at each frequency when it is resampled, so its
    standard deviation goes with the root of the rate. Whether the channels had the same noise nobody knows: it is taken
    as that of their mean.

    Raises:
        RestorationError: recordings of several sample rates are joined in the file.
    """
    if not noise_std:
        return 0.0, ()
    if len(audio.rates_hz) > 1:
        rates = " and ".join(f"{rate} Hz" for rate in audio.rates_hz)
        raise RestorationError(
            f"{path}: noise_std = {noise_std:g} means something else in each of the joined recordings of {rates}; cut "
            "it into files, or convert it to one rate"
        )
    (rate_hz,) = audio.rates_hz
    found = noise_std * audio.gain * math.sqrt(data.sample_rate_hz / rate_hz)
    notes = []
    if not math.isclose(found, noise_std):
        notes.append(f"noise_std = {noise_std:g} in the file's own samples is {found:.3g} once it is read")
    if audio.num_mixed > 1:
        notes.append(
            f"noise_std is taken as that of the mean of {audio.num_mixed} channels; where each has noise of its own, "
            f"that is {1 / math.sqrt(audio.num_mixed):.2f} of the noise of one"
        )
    return found, tuple(notes)


def read_pixels(path: Path) -> Tensor:
    """uint8 [1, H, W, 3]. Raises RestorationError."""
    try:
        return torch.from_numpy(np.array(read_image(path)))[None]
    except UnreadableFile as reason:
        raise RestorationError(f"{path}: {reason}") from None
