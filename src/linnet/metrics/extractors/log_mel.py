"""log_mel: how loud each band of audio is, and how that moves. Needs no weights; its distances are no FAD and KAD."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from linnet.audio.mel import mel_filters, windowed_frames
from linnet.metrics.extractors.base import AudioExtractor

NUM_BANDS = 32
LOW_HZ = 30.0
WINDOW_SECONDS, HOP_SECONDS = 0.064, 0.016
FLOOR = 1e-8  # -80 dB of full scale squared: above the noise of rounding to 16 bits, so that silence is silence


class LogMelFeatures(AudioExtractor):
    """Moments over time of the energy in 32 mel bands."""

    name = "log_mel"
    definition = "linnet log-mel-1: log10 energy in 32 mel bands; mean, deviation and frame-to-frame change over time"

    def extract(self, waveforms: Tensor) -> Tensor:
        """Float32 [B, samples] in -1..1 -> float64 [B, 1, 96]."""
        return log_mel(waveforms.double(), self.sample_rate_hz)[:, None]


def log_mel(waveforms: Tensor, sample_rate_hz: int) -> Tensor:
    """Float64 [B, samples] in -1..1 -> [B, 96]: how loud each band is, how much that varies, and how fast.

    Power spectra of frames of 64 ms every 16 ms, summed in 32 mel bands from 30 Hz to half the sample rate, as
    log10(energy + 1e-8), where a full-scale sine has an energy of about 0.4. Of each band over time: mean, standard
    deviation, and root mean square of the step from one frame to the next. What is shorter than two frames is padded
    with zeros.
    """
    window, hop = round(WINDOW_SECONDS * sample_rate_hz), round(HOP_SECONDS * sample_rate_hz)
    waveforms = F.pad(waveforms, (0, max(0, window + hop - waveforms.shape[-1])))
    fft_samples = 1 << (window - 1).bit_length()  # a power of two: odd lengths take twice as long
    filters = _filters(fft_samples, sample_rate_hz).to(waveforms)
    full_scale = window * fft_samples / 4  # by which a sine's energy, summed over bins, depends on neither length
    vectors = []
    for waveform in waveforms:  # one by one: a matrix product's last bits depend on its size
        frames = windowed_frames(waveform, window_samples=window, hop_samples=hop)
        power = torch.view_as_real(torch.fft.rfft(frames, n=fft_samples)).square().sum(dim=-1) / full_scale
        levels = torch.log10(power @ filters + FLOOR)
        spread = levels.std(dim=0, correction=0)
        vectors.append(torch.cat([levels.mean(dim=0), spread, levels.diff(dim=0).square().mean(dim=0).sqrt()]))
    return torch.stack(vectors)


@lru_cache(maxsize=4)
def _filters(fft_samples: int, sample_rate_hz: int) -> Tensor:
    return mel_filters(
        num_bins=fft_samples // 2 + 1,
        sample_rate_hz=sample_rate_hz,
        num_bands=NUM_BANDS,
        low_hz=LOW_HZ,
        high_hz=sample_rate_hz / 2,
    )
