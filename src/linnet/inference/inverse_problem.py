"""What is known of a degraded example: y = H x + noise, in the standardised units of the network."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from linnet.diffusion.operators import LinearOperator, RowScaled
from linnet.modalities.audio_codec import AudioCodec
from linnet.modalities.base import Codec
from linnet.modalities.image_codec import ImageCodec


@dataclass(frozen=True)
class InverseProblem:
    """An observation y of x [B, C, H, W], with white noise on pixels or samples.

    y is scaled by `row_scale` so that the solver sees noise of one strength everywhere (`noise_std`).

    With noise, y must look like x: [B, C, h, w] of pixels with the channels of x (h and w may be less), or a whole
    spectrogram, in units of x: white noise on pixels or samples is what `noise_rows` says in the same channel or
    frequency of y. So where the operator mixes channels (`LinearOperator.mixed_axes`), whose pixels are standardised
    by different numbers, `RowScaled` refuses the noise. What is one number of several channels (their mean) stands in
    one of them, in its unit, and the others of y are 0.

    Args:
        codec: between x and pixels or samples.
        degradation: H, before the scaling.
        amplitude: standard deviation of the noise on pixels or samples, where full scale is 1.
        mask: bool, broadcasts to [C, H, W]: True where nothing of x is observed, as in an inpainting mask. (The
            operator `linnet.diffusion.operators.Mask` takes the opposite, what is kept.)
        is_blind: H is not known to the solver, so that it cannot be scaled.
    """

    codec: Codec
    degradation: LinearOperator
    amplitude: float
    mask: Tensor
    is_blind: bool

    @cached_property
    def row_scale(self) -> Tensor:
        """What y is multiplied by; broadcasts to it."""
        noise = noise_rows(self.codec, self.amplitude)
        return 1 / noise if self._is_scaled else torch.ones_like(noise)

    @cached_property
    def noise_std(self) -> Tensor:
        """Of y once it is `whitened`, broadcasts to [C, H, W]: 1 where rows are scaled by their noise."""
        noise = noise_rows(self.codec, self.amplitude)
        return torch.ones_like(noise) if self._is_scaled else noise

    @cached_property
    def operator(self) -> LinearOperator:
        """H with the scaling."""
        return RowScaled(self.degradation, self.row_scale) if self._is_scaled else self.degradation

    @property
    def _is_scaled(self) -> bool:
        return self.amplitude > 0 and not self.is_blind

    def noise_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of the pixels or samples that one y of this shape [...] was made of."""
        match self.codec:
            case AudioCodec():
                return ((shape[-1] - 1) * self.codec.data.stft.hop_samples,)
            case _:
                return shape

    def observe(self, clean: Tensor, noise: Tensor) -> Tensor:
        """The y of standardised examples [B, C, H, W].

        Args:
            noise: standard normal [B, *noise_shape], for the pixels or samples.
        """
        y = self.operator.forward(clean)
        if self.amplitude == 0:
            return y
        match self.codec:
            case AudioCodec():
                in_x = self.codec.spectrogram(self.amplitude * noise) / self.codec.scale
            case ImageCodec():
                in_x = self.amplitude * noise / self.codec.std
            case _:
                raise AssertionError(self.codec)
        noise_in_y = self.row_scale * in_x
        assert noise_in_y.shape == y.shape, f"y is {tuple(y.shape)}, its noise {tuple(noise_in_y.shape)}"
        return y + noise_in_y

    def whitened(self, y: Tensor, noise: Tensor) -> Tensor:
        """`y` with noise that is independent from number to number, as DDRM takes it to be, of `noise_std`.

        Frames overlap: the noise of N samples lies in the N dimensions of spectrograms that are some waveform's, and is
        N_window / hop times stronger there than its spread in one bin says. Added is what no waveform has of white
        noise of that strength. Nothing that y says is lost: the waveform of the sum is that of y.

        Args:
            noise: standard normal [B, C, H, W].
        """
        if self.amplitude == 0 or not isinstance(self.codec, AudioCodec):
            return y
        white = self.noise_std / self.row_scale * self.codec.scale * noise
        return y + self.row_scale * self.codec.inconsistency(white) / self.codec.scale


def noise_rows(codec: Codec, noise_std: float) -> Tensor:
    """[C, 1, 1] or [1, F, 1]: the standard deviation in x of white noise on pixels or waveforms, once whitened."""
    match codec:
        case ImageCodec():
            return noise_std / codec.std
        case AudioCodec():
            size, hop = codec.data.stft.window_samples, codec.data.stft.hop_samples
            power = float((torch.hann_window(size, dtype=torch.float64) ** 2).sum()) / 2  # of the real part of a bin
            return (noise_std * math.sqrt(power * size / hop) / codec.scale)[None]  # size / hop numbers for a sample
        case _:
            raise AssertionError(codec)
