"""Restoration of a degraded file, of any length or size, with the trained model as prior."""

import dataclasses
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
from linnet.inference.degradations.files import read_pixels, read_waveform
from linnet.inference.diffusion_model import DiffusionModel
from linnet.inference.restoration import solve_file
from linnet.modalities.audio_codec import AudioCodec, to_int16
from linnet.modalities.base import Codec, Examples
from linnet.modalities.image_codec import ImageCodec
from linnet.recipe import ComplexSpectrogram, MagnitudeSpectrogram, RestoreSection


def restore_file(
    process: AnyDegradation, section: RestoreSection, model: DiffusionModel, given: RestorationInput
) -> tuple[Examples, tuple[str, ...]]:
    """The restored example, decoded, and what was converted when the file was read.

    Raises:
        RestorationError: the file, or what goes with it, does not fit the degradation or the model.
    """
    codec: Codec = model.codec
    match codec:
        case AudioCodec():
            return _restore_audio(process, section, model, codec, given)
        case ImageCodec():
            return _restore_image(process, section, model, codec, given), ()
        case _:
            raise AssertionError(codec)


def _restore_audio(
    process: AnyDegradation, section: RestoreSection, model: DiffusionModel, codec: AudioCodec, given: RestorationInput
) -> tuple[NDArray[np.int16], tuple[str, ...]]:
    samples, notes = read_waveform(given.file, codec.data)
    spectrum = _spectrum(codec, samples).to(model.device)
    features = as_channels(spectrum, codec.data.representation)
    problem = process.pose_file((features.shape[1], features.shape[2], features.shape[3]), given)
    gain = _gain(codec, features, problem.mask)
    problem = dataclasses.replace(problem, amplitude=problem.amplitude * gain)
    y = process.observe_file(problem, codec.standardize(features * gain))
    restored = solve_file(process, section, model, problem, y)
    known = KnownBins(spectrum, ~problem.mask[0])
    waveform = codec.waveform(codec.unstandardize(restored) / gain, known=known)[:, : len(samples)]
    return to_int16(process.keep_known_samples(waveform, torch.from_numpy(samples)))[0], notes


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
