"""A missing band of frequencies."""

from torch import Tensor

from linnet.inference.degradations.spectrogram_mask import SpectrogramMask, bin_frequencies, interpolate_bins
from linnet.recipe import Shape
from linnet.recipe.restore import InpaintBins


class MissingBins(SpectrogramMask[InpaintBins]):
    """The bins of a band."""

    def mask(self, shape: Shape) -> Tensor:
        frequencies = bin_frequencies(self.data)
        return ((frequencies >= self.section.low_hz) & (frequencies < self.section.high_hz))[None, :, None]

    def interpolate(self, magnitude: Tensor, missing: Tensor) -> Tensor:
        return interpolate_bins(magnitude, missing)
