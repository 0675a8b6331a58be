"""The one place that chooses between images and audio."""

from typing import assert_never

import torch

from linnet.modalities.audio_codec import AudioCodec
from linnet.modalities.base import Codec
from linnet.modalities.image_codec import ImageCodec
from linnet.modalities.statistics import Statistics
from linnet.recipe import Audio, CaltechBirds, DataSection


def build_codec(data: DataSection, statistics: Statistics, device: torch.device) -> Codec:
    """The codec of a [data] section, with what preprocess measured on the train split."""
    match data:
        case CaltechBirds():
            return ImageCodec.of(statistics, device)
        case Audio():
            return AudioCodec(data, statistics, device)
        case _:
            assert_never(data)
