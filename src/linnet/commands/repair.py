"""repair: a recording or image of one's own, brought back with the trained model as prior, at any length or size."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from linnet.audio.griffin_lim import KnownBins
from linnet.audio.stft import as_channels
from linnet.data.audio_files import UnreadableAudio, read_audio
from linnet.data.images import UnreadableFile, read_image
from linnet.diffusion.operators import FrequencyConvolution, Mask, RowScaled
from linnet.errors import LinnetError
from linnet.files import new_folder, write_json
from linnet.inference.degradations import build_problem
from linnet.inference.diffusion_model import DiffusionModel
from linnet.modalities.audio_codec import AudioCodec, to_int16
from linnet.modalities.image_codec import ImageCodec
from linnet.modalities.preview import write_example
from linnet.progress import ProgressBar, log
from linnet.recipe import (
    Audio,
    BandwidthExtension,
    BlindDereverberation,
    ComplexSpectrogram,
    Images,
    InpaintBins,
    InpaintFrames,
    InpaintPixels,
    KnownReverb,
    MagnitudeSpectrogram,
    RestorationTask,
    RestoreSection,
    SuperResolution,
    check_task,
)
from linnet.stages.restore import solve

RESULT = "repair.json"  # what was done, beside the restored file
CROSSFADE_SECONDS = 0.01  # from the recording to what fills a gap
RIDGE = 1e-3  # of a frame's energy


class RepairError(LinnetError):
    """The file cannot be restored that way."""


@dataclass(frozen=True)
class Given:
    """The damaged file, and what else a task needs to know."""

    file: Path
    impulse_response: Path | None  # a recording of the room's answer to a click, for known_reverb
    mask: Path | None  # an image, white where pixels are missing, for inpaint_pixels


def run(
    section: RestoreSection, task: RestorationTask, given: Given, *, model: Path, out: Path, device: torch.device
) -> None:
    """Restore `given.file` with the model folder's prior into the folder `out`.

    Raises:
        RepairError: the file, or what goes with it, does not fit the task or the model.
        ArtifactError: `model` is no whole model folder.
    """
    _check_out(out)
    _check_given(given, task)
    diffusion_model = DiffusionModel.load(model, weights=section.weights, device=device)
    try:
        check_task(task, diffusion_model.recipe.data)
    except ValueError as reason:
        raise RepairError(f"{model} is not for this task: {reason}") from None
    match diffusion_model.recipe.data:
        case Audio():
            restored, notes = _repair_audio(section, task, given, diffusion_model, diffusion_model.recipe.data)
        case Images():
            restored, notes = _repair_image(section, task, given, diffusion_model)
        case _:
            assert_never(diffusion_model.recipe.data)
    with new_folder(out) as folder:
        name = write_example(folder / given.file.stem, restored, diffusion_model.recipe.data)
        write_json(folder / RESULT, {"file": str(given.file), "task": task.model_dump(mode="json"), "notes": notes})
    for note in notes:
        log(f"{given.file}: {note}")
    log(f"{out / name}")


def _check_given(given: Given, task: RestorationTask) -> None:
    """Raises RepairError for a file that the task has no use for."""
    if given.impulse_response is not None and not isinstance(task, KnownReverb):
        raise RepairError(f"--impulse-response is for known_reverb; this task is {task.kind}")
    if given.mask is not None and not isinstance(task, InpaintPixels):
        raise RepairError(f"--mask is for inpaint_pixels; this task is {task.kind}")


def _check_out(out: Path) -> None:
    """What lies at `out` is replaced: raises RepairError where that would be somebody's own folder."""
    if out.exists() and not (out / RESULT).is_file():
        raise RepairError(f"--out {out}: is there already, and was not made by linnet repair; give a new folder")


def _repair_audio(
    section: RestoreSection, task: RestorationTask, given: Given, diffusion_model: DiffusionModel, data: Audio
) -> tuple[np.ndarray, tuple[str, ...]]:
    codec = diffusion_model.codec
    assert isinstance(codec, AudioCodec)
    samples, notes = _read(given.file, data)
    spectrum = _spectrum(codec, samples).to(diffusion_model.device)
    natural = as_channels(spectrum, data.representation)
    shape = (natural.shape[1], natural.shape[2], natural.shape[3])
    missing = build_problem(task, codec, shape, seed=section.seed, device=diffusion_model.device).missing
    _check_missing(given, task, data, missing, len(samples))
    gain = _gain(codec, natural, missing)
    x = codec.standardize(natural * gain)
    loud = task.model_copy(update={"noise_std": task.noise_std * gain})
    problem = build_problem(loud, codec, shape, seed=section.seed, device=diffusion_model.device)
    if isinstance(task, KnownReverb):
        if given.impulse_response is None:
            raise RepairError("known_reverb needs --impulse-response: a recording of the room's answer to a click")
        room, _ = _read(given.impulse_response, data)
        if not room.any():
            raise RepairError(f"{given.impulse_response}: is silent; give a recording of the room's answer to a click")
        filters = room_filters(codec, torch.from_numpy(room), max_taps=shape[-1]).to(diffusion_model.device)
        operator = RowScaled(FrequencyConvolution(filters), problem.row_scale)
        problem = dataclasses.replace(problem, operator=operator)
        y = x * problem.row_scale
    elif isinstance(task, BlindDereverberation):
        if task.filter_frames > shape[-1]:
            raise RepairError(
                f"{given.file}: filter_frames = {task.filter_frames} is more than its {shape[-1]} frames; give fewer"
            )
        y = x
    else:
        y = problem.operator.forward(x)
    with ProgressBar(f"restore: {task.kind}", section.num_draws * section.num_steps) as bar:
        restored = solve(task, section, diffusion_model, problem, y, [0], on_step=lambda t, x: bar.advance())
    known = KnownBins(spectrum, ~missing[0])
    waveform = codec.waveform(codec.unstandardize(restored) / gain, known=known)[:, : len(samples)]
    if isinstance(task, InpaintFrames) and not task.noise_std:  # outside the gap the samples are known
        whole = torch.from_numpy(samples).to(waveform)
        waveform = torch.lerp(waveform, whole, _outside_gap(whole, task, data).to(waveform))
    return to_int16(waveform)[0], notes


def _outside_gap(samples: Tensor, task: InpaintFrames, data: Audio) -> Tensor:
    """[N] in 0..1: 1 where a recording was whole, 0 in its gap, and a straight way between."""
    seconds = torch.arange(len(samples)) / data.sample_rate_hz
    away = torch.maximum(task.start_seconds - seconds, seconds - task.start_seconds - task.gap_seconds)
    return (away / CROSSFADE_SECONDS).clamp(0, 1)


def _check_missing(given: Given, task: RestorationTask, data: Audio, missing: Tensor, num_samples: int) -> None:
    """Raises RepairError where a task would restore nothing of a recording, or has nothing of it to go by."""
    takes_away = isinstance(task, InpaintBins | InpaintFrames | BandwidthExtension)
    if takes_away and (bool(missing.all()) or not bool(missing.any())):
        raise RepairError(
            f"{given.file}: {task.kind} would restore {'all' if missing.any() else 'nothing'} of it. It is "
            f"{num_samples / data.sample_rate_hz:.3g} s long, and this model knows frequencies up to "
            f"{data.sample_rate_hz / 2:g} Hz: give a task that lies within"
        )


def _read(path: Path, data: Audio) -> tuple[np.ndarray, tuple[str, ...]]:
    try:
        decoded = read_audio(path, sample_rate_hz=data.sample_rate_hz)
    except UnreadableAudio as reason:
        raise RepairError(f"{path}: {reason}") from None
    return decoded.samples, decoded.notes


def _spectrum(codec: AudioCodec, samples: np.ndarray) -> Tensor:
    """[1, F, T] of a whole recording, with silence after it up to a whole frame and to a training example."""
    hop = codec.data.stft.hop_samples
    length = max(-(-len(samples) // hop) * hop, codec.data.window_samples)
    waveform = F.pad(torch.from_numpy(samples), (0, length - len(samples)))[None]
    return codec.transform.spectrum(waveform)


def _gain(codec: AudioCodec, natural: Tensor, missing: Tensor) -> float:
    """What makes the observed part of a recording [1, C, F, T] as loud as training examples were there on average."""
    observed = (~missing).expand_as(natural)
    match codec.data.representation:
        case ComplexSpectrogram():
            level = float(codec.standardize(natural)[observed].square().mean().sqrt())
        case MagnitudeSpectrogram():
            level = float(natural[observed].mean() / codec.mean.expand_as(natural)[observed].mean())
        case _:
            assert_never(codec.data.representation)
    return 1 / level if level > 0 else 1.0


def room_filters(codec: AudioCodec, impulse_response: Tensor, *, max_taps: int) -> Tensor:
    """Complex [F, K]: how each frequency's frames are mixed by a room, from its answer h to a click.

    The convolutive transfer function without cross-bands (Talmon et al. 2009) that predicts the STFT of reverberant
    white noise best. With c the window's autocorrelation, frames every H samples and g[k, q] the filters turned by
    exp(-2 pi i k q H / N), it solves sum_p c[(q - p) H] g[k, p] = sum_l h[l] c[l - q H] exp(-2 pi i k l / N). Where
    frames have too little energy to tell, it is drawn to the answer of no room. The click is where h is loudest.
    """
    stft, click = codec.data.stft, int(impulse_response.abs().argmax())
    size, hop = stft.window_samples, stft.hop_samples
    answer = (impulse_response[click:] / impulse_response[click]).double()
    taps = min(-(-(len(answer) + size) // hop), max_taps)
    window = torch.hann_window(size, dtype=torch.float64)
    correlation = F.conv1d(window[None, None], window[None, None], padding=size - 1)[0, 0]  # its middle is lag 0
    frames = F.pad(answer, (size - 1, taps * hop + size)).unfold(0, 2 * size - 1, hop)[:taps] * correlation
    folded = frames[:, :size] + F.pad(frames[:, size:], (0, 1))  # exp(-2 pi i k l / N) repeats after N samples
    bins = torch.arange(size // 2 + 1 - stft.num_bins, size // 2 + 1)[:, None]
    turn = _turn(bins * torch.arange(taps) * hop, size)
    wanted = torch.fft.rfft(folded).T[bins[:, 0]] * turn * _turn(-bins * (size - 1), size)
    lags = F.pad(correlation[size - 1 :: hop], (0, taps))[:taps]
    gram = lags[(torch.arange(taps)[:, None] - torch.arange(taps)).abs()]
    loaded = gram + RIDGE * lags[0] * torch.eye(taps, dtype=torch.float64)
    direct = F.one_hot(torch.tensor(0), taps).double()
    solved: Tensor = direct + torch.linalg.solve(loaded.to(wanted.dtype), (wanted - gram @ direct).T).T
    return solved * turn.conj()


def _turn(samples: Tensor, size: int) -> Tensor:
    """exp(-2 pi i samples / size), complex128."""
    return torch.exp(-2j * math.pi * (samples % size).double() / size)


def _repair_image(
    section: RestoreSection, task: RestorationTask, given: Given, diffusion_model: DiffusionModel
) -> tuple[np.ndarray, tuple[str, ...]]:
    codec = diffusion_model.codec
    assert isinstance(codec, ImageCodec)
    pixels = _open(given.file).to(diffusion_model.device)
    _, height, width = diffusion_model.recipe.data.shape
    factor = task.factor if isinstance(task, SuperResolution) else 1
    tall, wide = pixels.shape[1] * factor, pixels.shape[2] * factor
    if tall < height or wide < width:
        raise RepairError(
            f"{given.file}: the restored image would have {wide} x {tall} pixels, this model needs "
            f"{width} x {height} or more"
        )
    shape = (3, tall, wide)
    problem = build_problem(task, codec, shape, seed=section.seed, device=diffusion_model.device)
    x = codec.encode(pixels)
    if isinstance(task, InpaintPixels):
        if given.mask is None:
            raise RepairError("inpaint_pixels needs --mask: an image of the same size, white where pixels are missing")
        missing = (_open(given.mask)[..., 0] > 127).to(diffusion_model.device)
        if missing.shape[1:] != x.shape[2:]:
            raise RepairError(f"{given.mask} and {given.file} differ in size")
        problem = dataclasses.replace(problem, operator=RowScaled(Mask(~missing), problem.row_scale), missing=missing)
    y = x * problem.row_scale if isinstance(task, SuperResolution) else problem.operator.forward(x)
    with ProgressBar(f"restore: {task.kind}", section.num_draws * section.num_steps) as bar:
        restored = solve(task, section, diffusion_model, problem, y, [0], on_step=lambda t, x: bar.advance())
    return codec.decode(restored)[0], ()


def _open(path: Path) -> Tensor:
    """uint8 [1, H, W, 3]. Raises RepairError."""
    try:
        return torch.from_numpy(np.array(read_image(path)))[None]
    except UnreadableFile as reason:
        raise RepairError(f"{path}: {reason}") from None
