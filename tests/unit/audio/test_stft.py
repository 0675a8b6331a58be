"""The STFT against its definition, what comes back of it, and that no result depends on its batch."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from linnet.audio.pcm import decode_waveform, encode_waveform
from linnet.audio.stft import Transform, as_channels, as_magnitude, as_spectrum
from linnet.recipe import STFT, ComplexSpectrogram, MagnitudeSpectrogram

TINY = STFT(window_samples=16, hop_samples=4, keep_dc=True)
AT_16_KHZ = STFT(window_samples=1024, hop_samples=256, keep_dc=True)
AT_8_KHZ = STFT(window_samples=256, hop_samples=64, keep_dc=True)
COMPLEX = ComplexSpectrogram(kind="complex")


def dropped(stft: STFT) -> STFT:
    return stft.model_copy(update={"keep_dc": False})


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32))


def tone(frequency_hz: float, sample_rate_hz: int, length: int, phase: float) -> Tensor:
    time = torch.arange(length, dtype=torch.float64) / sample_rate_hz
    return torch.cos(2 * math.pi * frequency_hz * time + phase).float()


def decibels(signal: Tensor, found: Tensor) -> float:
    """Signal to error."""
    error = (found - signal).double()
    return float(10 * torch.log10(signal.double().square().sum() / error.square().sum()))


def as_matrix(stft: STFT, length: int) -> Tensor:
    """The real matrix of the STFT by its definition: [(frame, bin, re/im), samples], weighted as the two-sided one."""
    size, rows = stft.window_samples, []
    for frame in range(1 + length // stft.hop_samples):
        for k in range(size // 2 + 1):
            weight = 1.0 if k in (0, size // 2) else math.sqrt(2)
            row = np.zeros(length, dtype=complex)
            for n in range(size):
                sample = frame * stft.hop_samples + n - size // 2
                if 0 <= sample < length:
                    hann = 0.5 - 0.5 * math.cos(2 * math.pi * n / size)
                    row[sample] = weight * hann * np.exp(-2j * math.pi * k * n / size)
            rows += [row.real, row.imag]
    return torch.from_numpy(np.array(rows))


@pytest.mark.parametrize("keep_dc", [True, False])
def test_the_spectrum_is_the_definition(keep_dc: bool) -> None:
    stft = TINY.model_copy(update={"keep_dc": keep_dc})
    waveform = noise(20).double()
    found = Transform(stft).spectrum(waveform)
    expected = (as_matrix(stft, 20) @ waveform).reshape(6, 9, 2)
    expected[:, 1:-1] /= math.sqrt(2)
    assert found.shape == (stft.num_bins, 6)
    torch.testing.assert_close(found, torch.view_as_complex(expected).T[0 if keep_dc else 1 :], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("stft", [TINY, AT_8_KHZ, AT_16_KHZ], ids=lambda stft: str(stft.window_samples))
def test_a_spectrum_does_not_depend_on_its_batch(stft: STFT) -> None:
    """Bit for bit: a dataset of spectrograms and one of waveforms must train the same network."""
    transform = Transform(stft)
    waveforms = noise(7, 12 * stft.hop_samples)
    together = transform.spectrum(waveforms.reshape(7, 1, -1))
    assert together.shape == (7, 1, stft.num_bins, 13)
    backward = transform.waveform(together, waveforms.shape[-1])
    for place, waveform in enumerate(waveforms):
        assert torch.equal(together[place, 0], transform.spectrum(waveform))
        assert torch.equal(together[place, 0], transform.spectrum(waveforms[place : place + 2])[0])
        assert torch.equal(backward[place, 0], transform.waveform(together[place, 0], waveforms.shape[-1]))


@pytest.mark.parametrize("exponent", [1.0, 0.5, 0.3, 0.7])
def test_magnitudes_do_not_depend_on_their_batch(exponent: float) -> None:
    """torch.pow fails this: its last bit depends on where in memory a number lies."""
    representation = MagnitudeSpectrogram(kind="magnitude", exponent=exponent, phase_iterations=1)
    spectrum = Transform(dropped(AT_8_KHZ)).spectrum(noise(5, 33 * 64))[..., :-1]  # 33 frames, not contiguous
    together = as_channels(spectrum, representation)
    assert together.shape == (5, 1, 128, 33)
    assert together.dtype == torch.float32
    for place in range(5):
        assert torch.equal(together[place], as_channels(spectrum[place].clone(), representation))
        assert torch.equal(together[place, :, 3:8], as_channels(spectrum[place, 3:8].contiguous(), representation))
    magnitude = as_magnitude(together, representation)
    torch.testing.assert_close(magnitude, spectrum.abs(), rtol=2e-6, atol=0)


def test_a_magnitude_is_made_of_correctly_rounded_steps() -> None:
    """So that every processor finds the same."""
    spectrum = Transform(TINY).spectrum(noise(40))
    representation = MagnitudeSpectrogram(kind="magnitude", exponent=1.0, phase_iterations=1)
    re, im = spectrum.real.numpy(), spectrum.imag.numpy()
    np.testing.assert_array_equal(as_channels(spectrum, representation)[0].numpy(), np.sqrt(re * re + im * im))


def test_complex_channels_are_the_spectrum_and_linear_in_the_waveform() -> None:
    transform = Transform(dropped(TINY))
    a, b = noise(40, seed=1).double(), noise(40, seed=2).double()
    spectrum = transform.spectrum(a)
    assert torch.equal(as_spectrum(as_channels(spectrum, COMPLEX)), spectrum)
    mixed = as_channels(transform.spectrum(0.3 * a - 2 * b), COMPLEX)
    parts = 0.3 * as_channels(spectrum, COMPLEX) - 2 * as_channels(transform.spectrum(b), COMPLEX)
    torch.testing.assert_close(mixed, parts, rtol=1e-12, atol=1e-14)


def test_what_a_network_predicts_below_zero_is_silent() -> None:
    representation = MagnitudeSpectrogram(kind="magnitude", exponent=0.5, phase_iterations=1)
    assert as_magnitude(torch.tensor([[[-2.0, 3.0]]]), representation).tolist() == [[0.0, 9.0]]


@pytest.mark.parametrize("hop_samples", [32, 64, 100, 128])
@pytest.mark.parametrize("with_dc", ["kept", "estimated"])
def test_the_round_trip_gives_everything_back(with_dc: str, hop_samples: int) -> None:
    stft = STFT(window_samples=256, hop_samples=hop_samples, keep_dc=with_dc == "kept")
    transform, waveform = Transform(stft), noise(40 * hop_samples) + 0.2
    spectrum = transform.spectrum(waveform)
    dc = transform.estimate_dc(spectrum, len(waveform)) if with_dc == "estimated" else None
    assert decibels(waveform, transform.waveform(spectrum, len(waveform), dc=dc)) > 125


@pytest.mark.parametrize(
    ("sample_rate_hz", "stft", "cases"),
    [
        (16_000, AT_16_KHZ, [(0, 3, 4), (16, 14, 20), (41, 46, 60), (87, 66, 80), (150, 78, 95), (400, 80, 120)]),
        (8_000, AT_8_KHZ, [(0, 3, 4), (32, 14, 20), (82, 46, 60), (175, 66, 80), (300, 78, 95), (400, 78, 120)]),
    ],
    ids=["16 kHz", "8 kHz"],
)
def test_what_dropping_dc_loses(sample_rate_hz: int, stft: STFT, cases: list[tuple[float, float, float]]) -> None:
    """Of tones (frequency, least and most decibels that are left), away from the ends of the waveform."""
    transform = Transform(dropped(stft))
    length, inside = 40 * stft.hop_samples, slice(stft.window_samples, -stft.window_samples)
    for frequency_hz, least, most in cases:
        left, estimated = [], []
        for phase in (0.0, 0.8, 1.6):
            waveform = tone(frequency_hz, sample_rate_hz, length, phase)
            if frequency_hz == 0 and phase > 1.5:
                continue  # a constant of nearly 0
            spectrum = transform.spectrum(waveform)
            dc = transform.estimate_dc(spectrum, length)
            left.append(decibels(waveform[inside], transform.waveform(spectrum, length)[inside]))
            estimated.append(decibels(waveform, transform.waveform(spectrum, length, dc=dc)))
        assert least < min(left) < most, frequency_hz
        assert min(estimated) > 125, frequency_hz


def test_estimated_dc_is_the_least_squares_answer() -> None:
    """For spectra that no waveform has: of all waveforms the one that fits the known rows best has this row."""
    stft, length = dropped(TINY), 20
    rng = np.random.default_rng(3)
    spectrum = torch.from_numpy(rng.normal(size=(2, 8, 6)) + 1j * rng.normal(size=(2, 8, 6)))
    transform, matrix = Transform(stft), as_matrix(stft, length).reshape(6, 9, 2, length)
    found = transform.estimate_dc(spectrum, length)
    weights = torch.tensor([math.sqrt(2)] * 7 + [1.0], dtype=torch.float64)[:, None]
    for row, estimate in zip(spectrum, found, strict=True):
        nyquist_is_real = row.clone()
        nyquist_is_real.imag[-1] = 0
        known = torch.view_as_real(nyquist_is_real * weights).transpose(0, 1).reshape(-1, 1)
        waveform = torch.linalg.lstsq(matrix[:, 1:].reshape(-1, length), known, driver="gelsd").solution[:, 0]
        torch.testing.assert_close(estimate, matrix[:, 0, 0] @ waveform, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(transform.waveform(row, length, dc=estimate), waveform, rtol=1e-9, atol=1e-9)


def test_estimating_dc_does_not_blow_noise_up() -> None:
    """Errors of a network in the other rows come out at most sqrt(2) times as large."""
    transform, shape = Transform(dropped(AT_8_KHZ)), (128, 33)
    rng = np.random.default_rng(4)
    errors = torch.from_numpy((rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64))
    dc = transform.estimate_dc(errors, 32 * 64)
    assert dc.dtype == torch.float32
    assert 0.1 < float(dc.square().mean()) < 2 * float(errors.abs().square().mean())
    assert torch.equal(transform.estimate_dc(torch.zeros_like(errors), 32 * 64), torch.zeros(33))


def test_sixteen_bits_round_to_the_nearest_and_clip() -> None:
    samples = np.array([0, 1, -1, 0.5, 1.0001, -3, 0.4 / 32767, -0.6 / 32767], dtype=np.float32)
    encoded = encode_waveform(samples)
    assert encoded.dtype == np.int16
    assert encoded.tolist() == [0, 32767, -32767, 16384, 32767, -32767, 0, -1]


def test_sixteen_bits_survive_decoding() -> None:
    every = np.arange(-32767, 32768, dtype=np.int16)
    decoded = decode_waveform(every)
    assert decoded.dtype == np.float32
    assert (decoded[0], decoded[-1]) == (-1, 1)
    np.testing.assert_array_equal(encode_waveform(decoded), every)
