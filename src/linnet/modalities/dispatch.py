"""The one place that chooses between images and audio. Imports no torch."""

from typing import TYPE_CHECKING, assert_never

from linnet.modalities.audio import AudioModality
from linnet.modalities.base import Codec, Modality
from linnet.modalities.images import ImageModality
from linnet.modalities.statistics import Statistics
from linnet.recipe import Audio, DataSection, Images

if TYPE_CHECKING:
    import torch


def get_modality(data: DataSection) -> Modality:
    """The modality of a [data] section."""
    match data:
        case Images():
            return ImageModality(data)
        case Audio():
            return AudioModality(data)
        case _:
            assert_never(data)


def build_codec(data: DataSection, statistics: Statistics, device: "torch.device") -> Codec:
    """The codec of a [data] section, with what preprocess measured on the train split."""
    return get_modality(data).codec(statistics, device)
