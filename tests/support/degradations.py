"""Codecs and problems for tests of degradations, without a trained model."""

import numpy as np
import torch
from torch import Tensor

from linnet.inference.degradations import AnyDegradation, build_degradation
from linnet.inference.inverse_problem import InverseProblem
from linnet.modalities.audio_codec import AudioCodec
from linnet.modalities.base import Codec
from linnet.modalities.image_codec import ImageCodec
from linnet.modalities.statistics import AudioStatistics
from linnet.recipe import DegradationSection
from support import audio_section
from support.statistics import audio_statistics, image_statistics

CPU = torch.device("cpu")
DATA = audio_section.AUDIO.model_copy(
    update={"num_frames": 64}
)  # 8 kHz, 64 samples every 16: bins 125 Hz apart, frames 2 ms


def statistics_of(num_bins: int) -> AudioStatistics:
    """Scales that differ at every frequency."""
    scale = np.geomspace(3, 0.02, num_bins).tolist()
    return audio_statistics(mean=[0.0] * num_bins, scale=scale, peak=[9.0] * num_bins)


AUDIO = AudioCodec(DATA, statistics_of(32), CPU)
IMAGES = ImageCodec.of(image_statistics(mean=[0.5, 0.4, 0.3], std=[0.25, 0.2, 0.1]), CPU)


def process_of(degradation: DegradationSection, codec: Codec = AUDIO, *, seed: int = 0) -> AnyDegradation:
    return build_degradation(degradation, codec, seed=seed, device=CPU)


def problem_of(
    degradation: DegradationSection,
    codec: Codec = AUDIO,
    shape: tuple[int, int, int] = DATA.shape,
    *,
    seed: int = 0,
) -> InverseProblem:
    """As held-out examples pose it."""
    return process_of(degradation, codec, seed=seed).pose(shape)


def mask_of(degradation: DegradationSection, codec: Codec = AUDIO, shape: tuple[int, int, int] = DATA.shape) -> Tensor:
    """True where nothing is observed."""
    return problem_of(degradation, codec, shape).mask
