"""How near restorations come to the clean examples, beside the baseline and the observation."""

from pathlib import Path

import torch
from torch import Tensor

from linnet.artifacts import Restored
from linnet.audio.stft import Transform, as_magnitude, as_spectrum
from linnet.data.arrays import open_array
from linnet.metrics.restoration import log_spectral_distance, psnr, rmse, si_sdr
from linnet.recipe import Audio, ComplexSpectrogram, DataSection, Recipe

COMPARED = {"restored": Restored.restored, "baseline": Restored.baseline, "observed": Restored.observed}
Scores = dict[str, dict[str, float]]  # by metric: by what was compared with the clean examples


def measure_restorations(recipe: Recipe, folder: Path) -> dict[str, Scores]:
    """Mean scores of each degradation of `recipe.restore`, by its name."""
    return {known.name: _measure(recipe.data, folder / known.name) for known in recipe.restore.degradations}


def _measure(data: DataSection, folder: Path) -> Scores:
    clean, mask = (torch.tensor(open_array(folder / name)) for name in (Restored.clean, Restored.mask))
    found: Scores = {}
    for name, file in COMPARED.items():
        for metric, value in _compare(data, torch.tensor(open_array(folder / file)), clean, mask).items():
            found.setdefault(metric, {})[name] = value
    return found


def _compare(data: DataSection, estimate: Tensor, clean: Tensor, mask: Tensor) -> dict[str, float]:
    if not isinstance(data, Audio):
        return {
            "rmse": float(rmse(estimate, clean).mean()),
            "psnr": float(psnr(estimate, clean, data_range=1.0).mean()),
        }
    estimated, true = (_magnitude(data, spectrogram) for spectrogram in (estimate, clean))
    where = mask[0].expand(clean.shape[-2:]) if bool(mask.any()) else None
    scores = {"lsd": float(log_spectral_distance(estimated, true, where).mean())}
    if isinstance(data.representation, ComplexSpectrogram):
        audio = [_waveform(data, spectrogram) for spectrogram in (estimate, clean)]
        scores["si_sdr"] = float(si_sdr(*audio).mean())
    return scores


def _magnitude(data: Audio, spectrogram: Tensor) -> Tensor:
    """[N, C, F, T] -> [N, F, T]."""
    if isinstance(data.representation, ComplexSpectrogram):
        return as_spectrum(spectrogram).abs()
    return as_magnitude(spectrogram, data.representation)


def _waveform(data: Audio, spectrogram: Tensor) -> Tensor:
    length = (spectrogram.shape[-1] - 1) * data.stft.hop_samples
    transform, spectrum = Transform(data.stft), as_spectrum(spectrogram)
    dc = None if data.stft.keep_dc else transform.estimate_dc(spectrum, length)
    return transform.waveform(spectrum, length, dc=dc)
