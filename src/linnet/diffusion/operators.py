"""Linear observations y = H x with their exact singular value decomposition H = U S V^T, without a matrix.

x is [B, C, H, W]: images [B, 3, H, W], or spectrograms [B, 1 or 2, F, T] with channels 0 and 1 for real and imaginary
part. Spectral coordinates V^T x have the shape of x, so white noise of x's shape is white noise of theirs. Everything
is batched, in the precision and on the device of what is given; singular values are float64.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor

SMALLEST_SINGULAR_VALUE = 1e-5  # of the row's largest: below, y's float32 rounding is louder than its message
Axis = Literal[-3, -2, -1]  # channels, height or frequency, width or time


class LinearOperator(ABC):
    """H, and the orthogonal U, V and the singular values S >= 0 of H = U S V^T."""

    @property
    @abstractmethod
    def mixed_axes(self) -> tuple[Axis, ...]:
        """The axes of x [B, C, H, W] along which U mixes, or along which y is shorter than x.

        U S V^T may be scaled row by row (`RowScaled`) only by what is the same all along these. Along any other axis,
        each number of y must stand where its singular value stands.
        """

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """H x: [B, C, H, W] to the shape of observations."""

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """H^T y."""

    @abstractmethod
    def to_spectral(self, x: Tensor) -> Tensor:
        """V^T x, in the shape of x."""

    @abstractmethod
    def from_spectral(self, z: Tensor) -> Tensor:
        """V z, the inverse of `to_spectral`."""

    @abstractmethod
    def observation_to_spectral(self, y: Tensor) -> Tensor:
        """U^T y in the shape of x: each coordinate at the position of its singular value, 0 where that is 0."""

    @abstractmethod
    def singular_values(self, shape: tuple[int, ...]) -> Tensor:
        """S for x of this shape, float64, broadcastable to it; 0 where nothing was observed."""

    def pseudo_inverse(self, y: Tensor) -> Tensor:
        """V S^+ U^T y: of all x that fit y best, the smallest."""
        return self.from_spectral(inverse_spectral(self, y))


def inverse_spectral(operator: LinearOperator, y: Tensor) -> Tensor:
    """S^+ U^T y, in the shape of x: what y says about each spectral coordinate, 0 where it says nothing."""
    z = operator.observation_to_spectral(y)
    singular = operator.singular_values(tuple(z.shape)).to(z.device)
    observed = singular > 0
    inverse = torch.where(observed, 1 / singular.where(observed, 1.0), 0.0)
    return z * inverse.to(z.dtype)


class Identity(LinearOperator):
    """Everything is observed: denoising."""

    mixed_axes = ()

    def forward(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        return y

    def to_spectral(self, x: Tensor) -> Tensor:
        return x

    def from_spectral(self, z: Tensor) -> Tensor:
        return z

    def observation_to_spectral(self, y: Tensor) -> Tensor:
        return y

    def singular_values(self, shape: tuple[int, ...]) -> Tensor:
        return torch.ones([1] * len(shape), dtype=torch.float64)


class Mask(LinearOperator):
    """Some pixels, bins or frames are observed: inpainting, and bandwidth extension with a mask of bins.

    Args:
        kept: bool, True where observed, broadcastable to [C, H, W]. Observations keep the shape of x, with zeros.
    """

    mixed_axes = ()

    def __init__(self, kept: Tensor) -> None:
        assert kept.dtype == torch.bool, f"the mask is {kept.dtype}, not bool"
        self._kept = kept

    def forward(self, x: Tensor) -> Tensor:
        return x.where(self._kept.to(x.device), 0.0)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.forward(y)

    def to_spectral(self, x: Tensor) -> Tensor:
        return x

    def from_spectral(self, z: Tensor) -> Tensor:
        return z

    def observation_to_spectral(self, y: Tensor) -> Tensor:
        return self.forward(y)

    def singular_values(self, shape: tuple[int, ...]) -> Tensor:
        return self._kept.to(torch.float64)


class BlockAverage(LinearOperator):
    """Means of factor x factor blocks: super-resolution. Observations are [B, C, H / factor, W / factor].

    V is the Householder reflection of each block that swaps its upper left pixel with the constant vector of length 1,
    so the spectral coordinate of a mean lies at the upper left pixel of its block, with S = 1 / factor and U = 1.
    """

    mixed_axes = (-2, -1)

    def __init__(self, factor: int) -> None:
        assert factor >= 2, f"blocks of {factor} x {factor} average nothing"
        self._factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self._blocks(x).mean(dim=(-3, -1))

    def adjoint(self, y: Tensor) -> Tensor:
        wide = y.repeat_interleave(self._factor, dim=-2).repeat_interleave(self._factor, dim=-1)
        return wide / self._factor**2

    def to_spectral(self, x: Tensor) -> Tensor:
        normal = torch.full((self._factor, 1, self._factor), -1 / self._factor, dtype=torch.float64, device=x.device)
        normal[0, 0, 0] += 1
        normal = torch.nn.functional.normalize(normal.flatten(), dim=0).reshape(normal.shape).to(x.dtype)
        blocks = self._blocks(x)
        along = (normal * blocks).sum(dim=(-3, -1), keepdim=True)
        return (blocks - 2 * along * normal).reshape(x.shape)

    def from_spectral(self, z: Tensor) -> Tensor:
        return self.to_spectral(z)  # a reflection is its own inverse

    def observation_to_spectral(self, y: Tensor) -> Tensor:
        z = y.new_zeros(*y.shape[:-2], y.shape[-2] * self._factor, y.shape[-1] * self._factor)
        z[..., :: self._factor, :: self._factor] = y
        return z

    def singular_values(self, shape: tuple[int, ...]) -> Tensor:
        singular = torch.zeros(shape[-2:], dtype=torch.float64)
        singular[:: self._factor, :: self._factor] = 1 / self._factor
        return singular

    def _blocks(self, x: Tensor) -> Tensor:
        """[..., H, W] -> [..., H / factor, factor, W / factor, factor]."""
        height, width = x.shape[-2:]
        assert height % self._factor == width % self._factor == 0, f"{height} x {width} has no whole blocks"
        return x.reshape(*x.shape[:-2], height // self._factor, self._factor, width // self._factor, self._factor)


class FrequencyConvolution(LinearOperator):
    """A known room: at each frequency, frames convolved circularly with a filter.

    y[f, t] = sum_k filters[f, k] x[f, (t - k) mod T], for complex numbers as channels 0 and 1 of [B, 2, F, T]; the wrap
    does nothing where the last K - 1 frames of x are silent. V is the unitary Fourier transform over time, S the
    modulus of the filters' transfer function (below 1e-5 of a frequency's largest: 0) and U is V times its phase. A
    complex number counts as two real coordinates, which makes U and V real orthogonal.

    Args:
        filters: complex [F, K] or [B, F, K], K <= T.
    """

    mixed_axes = (-3, -1)

    def __init__(self, filters: Tensor) -> None:
        assert filters.is_complex(), f"the filters are {filters.dtype}, not complex"
        self._filters = filters.to(torch.complex128)

    def forward(self, x: Tensor) -> Tensor:
        return self._multiply(x, self._transfer(x.shape[-1]))

    def adjoint(self, y: Tensor) -> Tensor:
        return self._multiply(y, self._transfer(y.shape[-1]).conj())

    def to_spectral(self, x: Tensor) -> Tensor:
        return to_channels(torch.fft.fft(to_complex(x), norm="ortho"))

    def from_spectral(self, z: Tensor) -> Tensor:
        return to_channels(torch.fft.ifft(to_complex(z), norm="ortho"))

    def observation_to_spectral(self, y: Tensor) -> Tensor:
        transfer = self._transfer(y.shape[-1])
        modulus = _without_smallest(transfer.abs())
        phase = torch.where(modulus > 0, transfer / modulus.where(modulus > 0, 1.0), 0.0)
        spectrum = torch.fft.fft(to_complex(y), norm="ortho")
        return to_channels(spectrum * phase.conj().to(spectrum))

    def singular_values(self, shape: tuple[int, ...]) -> Tensor:
        return _without_smallest(self._transfer(shape[-1]).abs()).unsqueeze(-3)

    def _transfer(self, frames: int) -> Tensor:
        """Complex128 [F, T] or [B, F, T]."""
        taps = self._filters.shape[-1]
        assert taps <= frames, f"{taps} taps do not fit {frames} frames"  # fft would cut them off silently
        transfer: Tensor = torch.fft.fft(self._filters, n=frames)
        return transfer

    @staticmethod
    def _multiply(x: Tensor, transfer: Tensor) -> Tensor:
        spectrum = torch.fft.fft(to_complex(x))
        return to_channels(torch.fft.ifft(spectrum * transfer.to(spectrum)))


class RowScaled(LinearOperator):
    """diag(scale) H: whitens noise of standard deviation 1 / scale, when y is multiplied by scale as well.

    Args:
        operator: H.
        scale: positive [C, H, 1] or [C, 1, 1] (or [1, ...]), constant along the operator's `mixed_axes`, so that it
            commutes with U: [1, F, 1] for a `FrequencyConvolution`, [C, 1, 1] for a `BlockAverage`.
    """

    def __init__(self, operator: LinearOperator, scale: Tensor) -> None:
        assert scale.ndim == 3, f"the scale has shape {tuple(scale.shape)}, not [C, H, 1]"
        assert scale.shape[2] == 1, f"the scale has shape {tuple(scale.shape)}, not [C, H, 1]"
        assert bool((scale > 0).all()), "a scale of zero or less is no scale"
        for axis in operator.mixed_axes:
            first = scale.narrow(axis, 0, 1)
            name = type(operator).__name__
            assert bool((scale == first).all()), f"the scale differs along axis {axis} of x, which {name} mixes"
            scale = first
        self._operator = operator
        self._scale = scale.to(torch.float64)

    @property
    def mixed_axes(self) -> tuple[Axis, ...]:
        return self._operator.mixed_axes

    def forward(self, x: Tensor) -> Tensor:
        return self._scaled(self._operator.forward(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self._operator.adjoint(self._scaled(y))

    def to_spectral(self, x: Tensor) -> Tensor:
        return self._operator.to_spectral(x)

    def from_spectral(self, z: Tensor) -> Tensor:
        return self._operator.from_spectral(z)

    def observation_to_spectral(self, y: Tensor) -> Tensor:
        return self._operator.observation_to_spectral(y)

    def singular_values(self, shape: tuple[int, ...]) -> Tensor:
        singular = self._operator.singular_values(shape)
        return singular * self._scale.to(singular.device)

    def _scaled(self, y: Tensor) -> Tensor:
        scaled = y * self._scale.to(y)
        assert scaled.shape == y.shape, f"the scale {tuple(self._scale.shape)} does not fit y, {tuple(y.shape)}"
        return scaled


def to_complex(x: Tensor) -> Tensor:
    """[B, 2, F, T] real -> [B, F, T] complex."""
    assert x.shape[-3] == 2, f"{tuple(x.shape)} has no channels for real and imaginary part"
    return torch.complex(x[..., 0, :, :].contiguous(), x[..., 1, :, :].contiguous())


def to_channels(x: Tensor) -> Tensor:
    """[B, F, T] complex -> [B, 2, F, T] real."""
    return torch.stack([x.real, x.imag], dim=-3)


def _without_smallest(modulus: Tensor) -> Tensor:
    return modulus.where(modulus > SMALLEST_SINGULAR_VALUE * modulus.amax(dim=-1, keepdim=True), 0.0)
