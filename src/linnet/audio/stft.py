"""The short-time Fourier transform (STFT) and its inverse.

Training examples must not depend on how they were stored or batched. On a CPU, everything between a waveform and its
channels is therefore bit for bit the same for an example alone and in a batch: each waveform is transformed by itself,
|z| is made of correctly rounded operations, and powers are numpy's (torch's differ in the last bit between an element
in the middle of an array and one near its end).
"""

import math
from collections.abc import Callable
from typing import assert_never

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from linnet.recipe import STFT, ComplexSpectrogram, MagnitudeSpectrogram

SOLVER_STEPS = 40  # of conjugate gradients; far past convergence, since the condition number is below 10


class Transform:
    """From waveforms to spectra and back, with the parameters of one STFT.

    Measured in float32 at an overlap of three quarters, as the ratio of signal to error: a spectrum with its row of
    frequency 0, kept or estimated, gives the waveform back at 135 dB. With the row dropped and taken as 0, tones away
    from the ends of the waveform come back at 3 dB at frequency 0, 15 dB at 1 bin, 46 dB from 2 bins on, 67 dB from 5
    bins on and 78 dB from 9.6 bins on. A bin is sample rate / window_samples wide: 9.6 bins are 150 Hz at 16 kHz and
    1,024 samples, and 300 Hz at 8 kHz and 256 samples, where 67 dB hold from 156 Hz on. Audio that is cut off at the
    ends of the waveform has low frequencies there and loses more: 44 dB over a whole second. So estimate the row.
    """

    def __init__(self, stft: STFT) -> None:
        self.stft = stft
        self._window = torch.hann_window(stft.window_samples, periodic=True, dtype=torch.float64)
        self._windows: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def spectrum(self, waveform: Tensor) -> Tensor:
        """The STFT, a linear map: float [..., samples] -> complex [..., num_bins, 1 + samples // hop_samples].

        Frame m is centred on sample m * hop_samples; the waveform is taken as silent beyond its ends. The phase counts
        from the start of the frame's window, so that the rows of frequency 0 and of the highest frequency are real.
        """
        first = 0 if self.stft.keep_dc else 1
        return _by_row(lambda row: self._forward(row)[..., first:, :], waveform, last_dimensions=1)

    def waveform(self, spectrum: Tensor, length: int, *, dc: Tensor | None = None) -> Tensor:
        """The inverse STFT: complex [..., num_bins, frames] -> float [..., length].

        This is the waveform with the nearest spectrum in the sense of least squares (Griffin and Lim 1984, eq. 6),
        exact for the spectrum of a waveform of that length.

        Args:
            spectrum: an output of `spectrum`, or any other, also one that no waveform has.
            length: in samples; 1 + length // hop_samples must be the number of frames.
            dc: float [..., frames], the row of frequency 0 where `spectrum` lacks it; None takes it as 0.
        """
        assert spectrum.shape[-2] == self.stft.num_bins, "the spectrum has the bins of this STFT"
        assert spectrum.shape[-1] == 1 + length // self.stft.hop_samples, "the frames cover the length"
        if self.stft.keep_dc:
            assert dc is None, "the spectrum has its row of frequency 0"
        else:
            row = torch.zeros_like(spectrum[..., :1, :]) if dc is None else dc[..., None, :].to(spectrum.dtype)
            spectrum = torch.cat([row, spectrum], dim=-2)
        return _by_row(lambda row: self._backward(row, length), spectrum, last_dimensions=2)

    def estimate_dc(self, spectrum: Tensor, length: int) -> Tensor:
        """The dropped row of frequency 0 from the other rows: complex [..., num_bins, frames] -> float [..., frames].

        Overlapping frames are redundant: of all rows d, this is the one for which [d; spectrum] is nearest to the
        spectra of waveforms of this length. With P the projection on those, (I - P)_00 d = P_01 spectrum, which is
        solved by conjugate gradients. At an overlap of three quarters the condition number is about 3: the row of a
        true spectrum is found exactly, up to a constant, and errors in the other rows grow at most by sqrt(2).
        """
        assert not self.stft.keep_dc, "the spectrum has its row of frequency 0"
        rest = self.waveform(spectrum.to(torch.complex128), length)
        window = self._window.to(spectrum.device)
        target = self._frames(rest) @ window
        bands = self._bands(spectrum.shape[-1], length).to(spectrum.device)

        def matrix(d: Tensor) -> Tensor:
            reach = bands.shape[-1] // 2
            return d - (F.pad(d, (reach, reach)).unfold(-1, bands.shape[-1], 1) * bands).sum(dim=-1)

        return _conjugate_gradients(matrix, target).to(spectrum.real.dtype)

    def _forward(self, waveform: Tensor) -> Tensor:
        result: Tensor = torch.stft(
            waveform,
            self.stft.window_samples,
            self.stft.hop_samples,
            window=self._window_like(waveform),
            center=True,
            pad_mode="constant",
            onesided=True,
            return_complex=True,
        )
        return result

    def _backward(self, spectrum: Tensor, length: int) -> Tensor:
        return torch.istft(
            spectrum,
            self.stft.window_samples,
            self.stft.hop_samples,
            window=self._window_like(spectrum.real),
            center=True,
            onesided=True,
            length=length,
        )

    def _window_like(self, x: Tensor) -> Tensor:
        """The window in the type of `x` and on its device, copied there once."""
        key = (x.device, x.dtype)
        if key not in self._windows:
            self._windows[key] = self._window.to(x)
        return self._windows[key]

    def _frames(self, waveform: Tensor) -> Tensor:
        """Frames of waveforms with silence beyond their ends: [..., length] -> [..., frames, window_samples]."""
        half = self.stft.window_samples // 2
        return F.pad(waveform, (half, half)).unfold(-1, self.stft.window_samples, self.stft.hop_samples)

    def _bands(self, num_frames: int, length: int) -> Tensor:
        """The diagonals of P_00, float64 [frames, 2 reach + 1]: frequency 0 of frame j from that of frame j + l.

        P_00[j, m] = 1/N sum_n w[n - jH] w[n - mH] / envelope[n], with the envelope sum_m w[n - mH]^2.
        """
        size, hop, window = self.stft.window_samples, self.stft.hop_samples, self._window
        ones = torch.ones(1, 1, num_frames, dtype=torch.float64)
        envelope = F.conv_transpose1d(ones, (window**2)[None, None], stride=hop)[0, 0, size // 2 :][:length]
        reach = math.ceil(size / hop) - 1
        padded = F.pad(window, (reach * hop, reach * hop))
        shifted = torch.stack([padded[(reach - offset) * hop :][:size] for offset in range(-reach, reach + 1)], dim=1)
        return self._frames(1 / envelope) @ (window[:, None] * shifted / size)


def as_channels(spectrum: Tensor, representation: ComplexSpectrogram | MagnitudeSpectrogram) -> Tensor:
    """The network's channels, before scaling: complex [..., bins, frames] -> float [..., channels, bins, frames]."""
    match representation:
        case ComplexSpectrogram():
            return torch.stack([spectrum.real, spectrum.imag], dim=-3)
        case MagnitudeSpectrogram():
            magnitude = _square_root(spectrum.real.square() + spectrum.imag.square())  # abs() is not correctly rounded
            return _power(magnitude, representation.exponent)[..., None, :, :]
        case _:
            assert_never(representation)


def as_spectrum(channels: Tensor) -> Tensor:
    """The spectrum of real and imaginary parts: float [..., 2, bins, frames] -> complex [..., bins, frames]."""
    return torch.complex(channels[..., 0, :, :].contiguous(), channels[..., 1, :, :].contiguous())


def as_magnitude(channels: Tensor, representation: MagnitudeSpectrogram) -> Tensor:
    """|STFT| from its power: float [..., 1, bins, frames] -> [..., bins, frames]; negative values count as silence."""
    return _power(channels[..., 0, :, :].clamp(min=0), 1 / representation.exponent)


def _by_row(function: Callable[[Tensor], Tensor], x: Tensor, *, last_dimensions: int) -> Tensor:
    """`function` over the leading dimensions; on a CPU row by row, so that a result cannot depend on its batch."""
    leading = x.shape[: x.ndim - last_dimensions]
    rows = x.reshape(-1, *x.shape[x.ndim - last_dimensions :])
    result = torch.stack([function(row) for row in rows]) if x.device.type == "cpu" else function(rows)
    return result.reshape(*leading, *result.shape[1:])


def _square_root(x: Tensor) -> Tensor:
    """Correctly rounded: torch's is not where MKL computes it, as on AMD's processors."""
    return torch.from_numpy(np.sqrt(x.detach().numpy())) if x.device.type == "cpu" else x.sqrt()


def _power(x: Tensor, exponent: float) -> Tensor:
    if exponent == 1:
        return x
    if x.device.type != "cpu":
        return x.pow(exponent)
    return torch.from_numpy(np.power(x.detach().cpu().double().numpy(), exponent)).to(x)


def _conjugate_gradients(matrix: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
    """Solve matrix(x) = target for each row [..., n]; the matrix is symmetric and well conditioned."""
    x, residual = torch.zeros_like(target), target
    direction, size = residual, residual.square().sum(dim=-1, keepdim=True)
    for _ in range(SOLVER_STEPS):
        product = matrix(direction)
        curvature = (direction * product).sum(dim=-1, keepdim=True)
        step = torch.where(curvature > 0, size / curvature, 0.0)
        x, residual = x + step * direction, residual - step * product
        previous, size = size, residual.square().sum(dim=-1, keepdim=True)
        direction = residual + torch.where(previous > 0, size / previous, 0.0) * direction
    return x
