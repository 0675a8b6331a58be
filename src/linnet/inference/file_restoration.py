"""Restoration of a degraded file, of any length or size, with the trained model as prior."""

import dataclasses
from dataclasses import dataclass
from typing import assert_never

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from linnet.audio.griffin_lim import KnownBins
from linnet.audio.stft import as_channels
from linnet.inference.degradations import RestorationError, RestorationInput
from linnet.inference.degradations.base import AnyDegradation
from linnet.inference.degradations.files import noise_as_read, read_pixels, read_waveform
from linnet.inference.diffusion_model import DiffusionModel
from linnet.inference.restoration import solve_file
from linnet.modalities.audio_codec import AudioCodec, to_int16
from linnet.modalities.base import Codec, Examples, check_finite
from linnet.modalities.image_codec import ImageCodec
from linnet.recipe import ComplexSpectrogram, MagnitudeSpectrogram, RestoreSection

QUIET = 1 / 32  # peak: below it 16 bits leave fewer than ten to a recording whose file has more


@dataclass(frozen=True)
class RestoredFile:
    """A file's restoration, decoded."""

    example: Examples  # uint8 [H, W, 3] or int16 [samples]
    notes: tuple[str, ...]  # what was converted
    gain: float  # what the file's own values are multiplied by in it


def restore_file(
    process: AnyDegradation, section: RestoreSection, model: DiffusionModel, given: RestorationInput
) -> RestoredFile:
    """The file restored. Quantities in the file's own units, such as noise_std, are converted as its samples are.

    Raises:
        RestorationError: the file, or what goes with it, does not fit the degradation or the model.
    """
    codec: Codec = model.codec
    match codec:
        case AudioCodec():
            return _restore_audio(process, section, model, codec, given)
        case ImageCodec():
            return RestoredFile(_restore_image(process, section, model, codec, given), (), 1.0)
        case _:
            raise AssertionError(codec)


def _restore_audio(
    process: AnyDegradation, section: RestoreSection, model: DiffusionModel, codec: AudioCodec, given: RestorationInput
) -> RestoredFile:
    audio = read_waveform(given.file, codec.data)
    spectrum = _spectrum(codec, audio.samples).to(model.device)
    features = as_channels(spectrum, codec.data.representation)
    problem = process.pose_file((features.shape[1], features.shape[2], features.shape[3]), given)
    noise_std, noise_notes = noise_as_read(problem.amplitude, audio, given.file, codec.data)
    gain = _gain(codec, features, problem.mask)
    problem = dataclasses.replace(problem, amplitude=noise_std * gain)
    y = process.observe_file(problem, codec.standardize(features * gain))
    restored = solve_file(process, section, model, problem, y)
    known = KnownBins(spectrum, ~problem.mask[0])
    waveform = codec.waveform(codec.unstandardize(restored) / gain, known=known)[:, : len(audio.samples)]
    waveform = process.keep_known_samples(waveform, torch.from_numpy(audio.samples))
    check_finite(waveform, "audio")
    notes, loudest = [*audio.notes, *noise_notes], float(waveform.abs().max())
    peak = max(loudest, 1.0)
    if peak > 1:
        notes.append(f"the restoration is scaled down from a peak of {peak:.3g} to 1")
    elif 0 < loudest < QUIET and not audio.fits_16_bits:
        peak = 2 * loudest
        waveform = waveform / peak
        notes.append(
            f"16 bits are coarse for so quiet a recording: it is scaled up from a peak of {loudest:.3g} to 0.5"
        )
    gain = audio.gain / peak
    if gain != 1:
        notes.append(
            f"FLAC holds what is between -1 and 1: the result is {gain:.3g} times what the file's own values say"
        )
    return RestoredFile(to_int16(waveform)[0], tuple(notes), gain)


def _restore_image(
    process: AnyDegradation, section: RestoreSection, model: DiffusionModel, codec: ImageCodec, given: RestorationInput
) -> NDArray[np.uint8]:
    x = codec.encode(read_pixels(given.file).to(model.device))
    _, least_height, least_width = model.recipe.data.shape
    _, height, width = shape = process.restored_shape((x.shape[1], x.shape[2], x.shape[3]))
    if height < least_height or width < least_width:
        raise RestorationError(
            f"{given.file}: the restored image would have {width} x {height} pixels, this model needs "
            f"{least_width} x {least_height} or more"
        )
    problem = process.pose_file(shape, given)
    images = codec.decode(solve_file(process, section, model, problem, process.observe_file(problem, x)))
    image: NDArray[np.uint8] = images[0]
    return image


def _spectrum(codec: AudioCodec, samples: NDArray[np.float32]) -> Tensor:
    """[1, F, T] of a whole recording, with silence after it up to a whole frame and to a training example."""
    hop = codec.data.stft.hop_samples
    length = max(-(-len(samples) // hop) * hop, codec.data.window_samples)
    waveform = F.pad(torch.from_numpy(samples), (0, length - len(samples)))[None]
    return codec.transform.spectrum(waveform)


def _gain(codec: AudioCodec, features: Tensor, mask: Tensor) -> float:
    """What makes the observed part of a recording [1, C, F, T] as loud as training examples were there on average."""
    observed = (~mask).expand_as(features)
    match codec.data.representation:
        case ComplexSpectrogram():
            level = float(codec.standardize(features)[observed].square().mean().sqrt())
        case MagnitudeSpectrogram():
            level = float(features[observed].mean() / codec.mean.expand_as(features)[observed].mean())
        case _:
            assert_never(codec.data.representation)
    return 1 / level if level > 0 else 1.0
