"""The one place that chooses between images and audio."""

from typing import assert_never

import torch

from linnet.modalities.audio_codec import AudioCodec
from linnet.modalities.base import Codec
from linnet.modalities.image_codec import ImageCodec
from linnet.modalities.statistics import AudioStatistics, ImageStatistics, Statistics
from linnet.recipe import Audio, DataSection, Images


def build_codec(data: DataSection, statistics: Statistics, device: torch.device) -> Codec:
    """The codec of a [data] section, with what preprocess measured on the train split."""
    match data:
        case Images():
            assert isinstance(statistics, ImageStatistics)
            return ImageCodec.of(statistics, device)
        case Audio():
            assert isinstance(statistics, AudioStatistics)
            return AudioCodec(data, statistics, device)
        case _:
            assert_never(data)
