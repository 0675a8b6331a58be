"""Missing high frequencies."""

from torch import Tensor

from linnet.inference.degradations.spectrogram_mask import SpectrogramMask, bin_frequencies, interpolate_bins
from linnet.recipe import Shape
from linnet.recipe.restore import BandwidthExtension


class LowPass(SpectrogramMask[BandwidthExtension]):
    """All bins above a frequency."""

    def mask(self, shape: Shape) -> Tensor:
        return (bin_frequencies(self.data) >= self.section.cutoff_hz)[None, :, None]

    def interpolate(self, magnitude: Tensor, missing: Tensor) -> Tensor:
        return interpolate_bins(magnitude, missing)
