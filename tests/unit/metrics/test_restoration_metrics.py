"""Scores of restored examples against hand-made errors whose size is known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from linnet.metrics.restoration import (
    log_spectral_distance,
    psnr,
    rmse,
    si_sdr,
)


def waves(count: int, samples: int = 400, *, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((count, samples)))


# --- waveforms --------------------------------------------------------------------------------------------------------


def orthogonal(clean: Tensor) -> Tensor:
    """A distortion at right angles to `clean`, as strong as it."""
    other = waves(*clean.shape, seed=1)
    other = other - clean * (other * clean).sum(dim=1, keepdim=True) / clean.square().sum(dim=1, keepdim=True)
    size = clean.square().sum(dim=1, keepdim=True) / other.square().sum(dim=1, keepdim=True)
    return other * size.sqrt()


@pytest.mark.parametrize("wanted_db", [-30.0, 0.0, 12.5, 60.0])
@pytest.mark.parametrize("gain", [1e-9, 0.1, -1.0, 300.0])
def test_si_sdr_is_the_ratio_of_the_parts_at_any_loudness(wanted_db: float, gain: float) -> None:
    clean = waves(3)
    estimate = clean + orthogonal(clean) * 10 ** (-wanted_db / 20)
    expected = torch.full((3,), wanted_db).double()
    torch.testing.assert_close(si_sdr(estimate * gain, clean), expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(si_sdr(estimate, clean * gain), expected, rtol=0, atol=1e-4)


def test_si_sdr_has_limits() -> None:
    clean = waves(2)
    assert si_sdr(clean * 0.3, clean).tolist() == [100, 100]
    assert si_sdr(orthogonal(clean), clean).tolist() == [-100, -100]
    assert si_sdr(clean.float(), clean.float()).tolist() == [100, 100]


def test_si_sdr_of_silence_is_defined() -> None:
    """Both, the estimate, the clean one, neither; torchmetrics gives a silent estimate 0 dB."""
    audio, silence = waves(1), torch.zeros(1, 400).double()
    estimate, clean = torch.cat([silence, silence, audio, audio]), torch.cat([silence, audio, silence, audio])
    assert si_sdr(estimate, clean).tolist() == [100, -100, -100, 100]
    assert si_sdr(audio * 1e-300, audio).tolist() == [100]


# --- magnitudes -------------------------------------------------------------------------------------------------------


def magnitudes(batch: int = 2, bins: int = 6, frames: int = 5) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).uniform(0.1, 1, (batch, bins, frames)))


def test_log_spectral_distance_of_a_gain_is_the_gain() -> None:
    clean = magnitudes()
    torch.testing.assert_close(log_spectral_distance(clean * 2, clean), torch.full((2,), 20 * math.log10(2)).double())
    torch.testing.assert_close(log_spectral_distance(clean / 2, clean), torch.full((2,), 20 * math.log10(2)).double())
    assert log_spectral_distance(clean, clean).tolist() == [0, 0]


def test_log_spectral_distance_is_root_mean_square_over_bins_then_mean_over_frames() -> None:
    clean = torch.ones(1, 4, 2).double()
    estimate = clean.clone()
    estimate[0, 0, 0] = 10  # 20 dB in one of four bins of one of two frames
    assert log_spectral_distance(estimate, clean).tolist() == [pytest.approx(math.sqrt(20**2 / 4) / 2)]
    estimate[0, 1, 1] = 0.1
    assert log_spectral_distance(estimate, clean).tolist() == [pytest.approx(10)]


def test_log_spectral_distance_has_a_floor_below_the_clean_peak() -> None:
    """The peak is 5: everything below 5e-4 is as loud as that, in both; each example has its own."""
    clean = torch.ones(2, 1, 2).double()
    clean[0, 0, 0] = 5
    estimate = clean.clone()
    estimate[:, 0, 1] = 0
    down = 80 - 20 * math.log10(5)
    torch.testing.assert_close(log_spectral_distance(estimate, clean), torch.tensor([down / 2, 40]).double())
    torch.testing.assert_close(log_spectral_distance(clean, estimate), torch.tensor([down / 2, 40]).double())
    clean[0, 0, 1] = 4e-4
    assert log_spectral_distance(estimate, clean).tolist()[0] == 0


def test_log_spectral_distance_of_silence_is_finite() -> None:
    silence, audio = torch.zeros(1, 3, 2), torch.ones(1, 3, 2)
    assert log_spectral_distance(silence, silence).tolist() == [0]
    assert log_spectral_distance(audio, silence).tolist() == [pytest.approx(80)]
    assert log_spectral_distance(silence, audio).tolist() == [pytest.approx(80)]


def test_log_spectral_distance_can_look_at_the_missing_part_alone() -> None:
    clean = magnitudes()
    estimate = clean.clone()
    estimate[:, 2:4] *= 10
    estimate[:, 5] *= 1.7  # elsewhere, not in the mask
    band = torch.zeros(6, 1, dtype=torch.bool)
    band[2:4] = True
    torch.testing.assert_close(log_spectral_distance(estimate, clean, band), torch.full((2,), 20.0).double())
    gap = torch.zeros(2, 6, 5, dtype=torch.bool)
    gap[0, 2, 1], gap[1, 0:3, 4] = True, True
    expected = torch.tensor([20, math.sqrt(20**2 / 3)]).double()
    torch.testing.assert_close(log_spectral_distance(estimate, clean, gap), expected)
    everything = torch.ones(5, dtype=torch.bool)
    whole = log_spectral_distance(estimate, clean)
    torch.testing.assert_close(log_spectral_distance(estimate, clean, everything), whole)


def test_log_spectral_distance_refuses_what_has_no_answer() -> None:
    with pytest.raises(AssertionError, match="without bins"):
        log_spectral_distance(magnitudes(), magnitudes(), torch.zeros(6, 5, dtype=torch.bool))
    with pytest.raises(AssertionError, match="magnitudes"):
        log_spectral_distance(torch.complex(magnitudes(), magnitudes()), magnitudes())


# --- images ---------------------------------------------------------------------------------------------------------


def test_rmse_and_psnr_of_known_errors() -> None:
    clean = torch.zeros(3, 3, 4, 4)
    estimate = clean.clone()
    estimate[0] += 0.2
    estimate[1, 0] -= 0.3  # one channel of three
    torch.testing.assert_close(rmse(estimate, clean), torch.tensor([0.2, 0.3 / math.sqrt(3), 0]).double())
    found = psnr(estimate, clean, data_range=2)
    torch.testing.assert_close(found, torch.tensor([20, 20 * math.log10(2 / 0.3) + 10 * math.log10(3), 100]).double())
    assert float(psnr(estimate, clean, data_range=1)[0]) == pytest.approx(20 - 20 * math.log10(2), abs=1e-5)
