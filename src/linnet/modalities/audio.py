"""The modality of audio. Imports no torch before it makes a codec or measures spectrograms."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet.modalities.audio_preprocess import preprocess
from linnet.modalities.base import Codec, Modality, Preprocessed
from linnet.modalities.statistics import AudioStatistics, Statistics
from linnet.recipe import Audio

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class AudioModality(Modality):
    """Audio is stored as waveforms (or spectrograms) and seen by the network as spectrograms scaled per frequency."""

    data: Audio

    @property
    def stored(self) -> tuple[tuple[int, ...], "np.dtype[Any]"]:
        """int16 [samples] or float32 [C, F, T], as the recipe says."""
        if self.data.storage == "waveform":
            return (self.data.window_samples,), np.dtype(np.int16)
        return self.data.shape, np.dtype(np.float32)

    def preprocess(self, *, raw: Path, folder: Path, workers: int) -> Preprocessed:
        """Write waveforms, labels and manifest; `measure` writes spectrograms where the recipe stores them."""
        return preprocess(self.data, raw=raw, folder=folder, workers=workers)

    def codec(self, statistics: Statistics, device: "torch.device") -> Codec:
        """An AudioCodec."""
        from linnet.modalities.audio_codec import AudioCodec

        assert isinstance(statistics, AudioStatistics)
        return AudioCodec(self.data, statistics, device)
