"""From the recipe's degradation to what it computes."""

from typing import assert_never

import torch

from linnet.inference.degradations.bandwidth_extension import LowPass
from linnet.inference.degradations.base import AnyDegradation
from linnet.inference.degradations.blind_dereverberation import UnknownRoom
from linnet.inference.degradations.denoise import AdditiveNoise
from linnet.inference.degradations.inpaint_bins import MissingBins
from linnet.inference.degradations.inpaint_frames import MissingFrames
from linnet.inference.degradations.inpaint_pixels import MissingPixels
from linnet.inference.degradations.known_reverb import KnownRoom
from linnet.inference.degradations.super_resolution import BlockMeans
from linnet.modalities.base import Codec
from linnet.recipe import DegradationSection
from linnet.recipe import restore as sections


def build_degradation(section: DegradationSection, codec: Codec, *, seed: int, device: torch.device) -> AnyDegradation:
    """The process of a recipe's degradation; `seed` is that of [restore]."""
    process: AnyDegradation
    context = codec, seed, device
    match section:
        case sections.Denoise():
            process = AdditiveNoise(section, *context)
        case sections.InpaintPixels():
            process = MissingPixels(section, *context)
        case sections.InpaintBins():
            process = MissingBins(section, *context)
        case sections.InpaintFrames():
            process = MissingFrames(section, *context)
        case sections.BandwidthExtension():
            process = LowPass(section, *context)
        case sections.SuperResolution():
            process = BlockMeans(section, *context)
        case sections.KnownReverb():
            process = KnownRoom(section, *context)
        case sections.BlindDereverberation():
            process = UnknownRoom(section, *context)
        case _:
            assert_never(section)
    return process
