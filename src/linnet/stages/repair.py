"""repair: a recording or picture of one's own, brought back with the trained model as prior, at any length or size."""

from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from linnet.data.sound_files import UnreadableSound, read_sound
from linnet.diffusion.operators import FrequencyConvolution, Mask, RowScaled
from linnet.errors import LinnetError
from linnet.files import new_folder
from linnet.progress import Meter, say
from linnet.recipe import (
    BlindDereverberation,
    CaltechBirds,
    InpaintPixels,
    KnownReverb,
    RestorationTask,
    RestoreSection,
    Sound,
    SuperResolution,
)
from linnet.stages.codec import PictureCodec, SoundCodec, to_samples
from linnet.stages.problems import Problem, build_problem, noise_rows
from linnet.stages.restore import solve
from linnet.stages.shown import write_example
from linnet.stages.wiring import Painter, load_painter


class RepairError(LinnetError):
    """The file cannot be restored that way."""


@dataclass(frozen=True)
class Given:
    """The damaged file, and what else a task needs to know."""

    file: Path
    impulse_response: Path | None  # a recording of the room's answer to a click, for known_reverb
    mask: Path | None  # a picture, white where pixels are missing, for inpaint_pixels


def run(
    section: RestoreSection, task: RestorationTask, given: Given, *, model: Path, out: Path, device: torch.device
) -> None:
    """Restore `given.file` with the model folder's prior into the folder `out`.

    Raises:
        RepairError: the file, or what goes with it, does not fit the task or the model.
        ArtifactError: `model` is no whole model folder.
    """
    painter = load_painter(model, weights=section.weights, device=device)
    match painter.recipe.data:
        case Sound():
            restored, notes = _repair_sound(section, task, given, painter, painter.recipe.data)
        case CaltechBirds():
            restored, notes = _repair_picture(section, task, given, painter)
        case _:
            assert_never(painter.recipe.data)
    with new_folder(out) as folder:
        name = write_example(folder / given.file.stem, restored, painter.recipe.data)
    for note in notes:
        say(f"{given.file}: {note}")
    say(f"{out / name}")


def _repair_sound(
    section: RestoreSection, task: RestorationTask, given: Given, painter: Painter, data: Sound
) -> tuple[np.ndarray, tuple[str, ...]]:
    codec = painter.codec
    assert isinstance(codec, SoundCodec)
    samples, notes = _read(given.file, data)
    natural = _channels(codec, samples).to(painter.device)
    gain = _gain(codec, natural)
    x = codec.standardised(natural * gain)
    shape = (x.shape[1], x.shape[2], x.shape[3])
    loud = task.model_copy(update={"noise_std": task.noise_std * gain})
    problem = build_problem(loud, codec, shape, seed=section.seed, device=painter.device)
    if isinstance(task, KnownReverb):
        if given.impulse_response is None:
            raise RepairError("known_reverb needs --impulse-response: a recording of the room's answer to a click")
        room, _ = _read(given.impulse_response, data)
        filters = room_filters(codec, torch.from_numpy(room), max_taps=shape[-1]).to(painter.device)
        scale = _row_scale(codec, loud)
        problem = Problem(RowScaled(FrequencyConvolution(filters), scale), problem.noise_std, problem.missing)
        y = x * scale
    elif isinstance(task, BlindDereverberation):
        y = x
    else:
        y = problem.operator.forward(x)
    with Meter(f"restore: {task.kind}", section.num_steps) as meter:
        restored = solve(task, section, painter, problem, y, [0], on_step=lambda t, x: meter.advance())
    waveform = codec.waveform(codec.natural(restored) / gain)[:, : len(samples)]
    return to_samples(waveform)[0], notes


def _row_scale(codec: SoundCodec | PictureCodec, task: RestorationTask) -> Tensor:
    rows = noise_rows(codec, task.noise_std)
    return 1 / rows if task.noise_std else torch.ones_like(rows)


def _read(path: Path, data: Sound) -> tuple[np.ndarray, tuple[str, ...]]:
    try:
        recording = read_sound(path, sample_rate_hz=data.sample_rate_hz)
    except UnreadableSound as reason:
        raise RepairError(f"{path}: {reason}") from None
    return recording.samples, recording.notes


def _channels(codec: SoundCodec, samples: np.ndarray) -> Tensor:
    """[1, C, F, T] of a whole recording, with silence after it up to a whole frame and to a training example."""
    hop = codec.data.stft.hop_samples
    length = max(-(-len(samples) // hop) * hop, codec.data.window_samples)
    waveform = F.pad(torch.from_numpy(samples), (0, length - len(samples)))[None]
    return codec.channels_of(waveform)


def _gain(codec: SoundCodec, natural: Tensor) -> float:
    """What makes the recording as loud as the training examples were on average; 1 for magnitudes."""
    if codec.data.representation.kind == "magnitude":
        return 1.0
    level = float(codec.standardised(natural).square().mean().sqrt())
    return 1 / level if level > 0 else 1.0


def room_filters(codec: SoundCodec, impulse_response: Tensor, *, max_taps: int) -> Tensor:
    """Complex [F, K]: how each frequency's frames are mixed by a room, from its answer to a click.

    The convolutive transfer function without cross-bands (Talmon et al. 2009): the STFT of the answer over that of the
    click at the same place. The click is where the answer is loudest.
    """
    click = int(impulse_response.abs().argmax())
    answer = impulse_response[click:] / impulse_response[click]
    hop = codec.data.stft.hop_samples
    length = -(-len(answer) // hop) * hop
    spectrum = codec.transform.spectrum(F.pad(answer, (0, length - len(answer)))[None])[0]
    return spectrum[:, :max_taps]  # the click itself, at sample 0, has the spectrum 1 in frame 0


def _repair_picture(
    section: RestoreSection, task: RestorationTask, given: Given, painter: Painter
) -> tuple[np.ndarray, tuple[str, ...]]:
    codec = painter.codec
    assert isinstance(codec, PictureCodec)
    pixels = _open(given.file).to(painter.device)
    _, height, width = painter.recipe.data.shape
    factor = task.factor if isinstance(task, SuperResolution) else 1
    tall, wide = pixels.shape[1] * factor, pixels.shape[2] * factor
    if tall < height or wide < width:
        raise RepairError(
            f"{given.file}: the restored picture would have {wide} x {tall} pixels, this model needs "
            f"{width} x {height} or more"
        )
    shape = (3, tall, wide)
    problem = build_problem(task, codec, shape, seed=section.seed, device=painter.device)
    x = codec.encode(pixels)
    scale = _row_scale(codec, task)
    if isinstance(task, InpaintPixels):
        if given.mask is None:
            raise RepairError("inpaint_pixels needs --mask: a picture of the same size, white where pixels are missing")
        missing = (_open(given.mask)[..., 0] > 127).to(painter.device)
        if missing.shape[1:] != x.shape[2:]:
            raise RepairError(f"{given.mask} and {given.file} differ in size")
        problem = Problem(RowScaled(Mask(~missing), scale), problem.noise_std, missing)
    y = x * scale if isinstance(task, SuperResolution) else problem.operator.forward(x)
    with Meter(f"restore: {task.kind}", section.num_steps) as meter:
        restored = solve(task, section, painter, problem, y, [0], on_step=lambda t, x: meter.advance())
    return codec.decode(restored)[0], ()


def _open(path: Path) -> Tensor:
    """uint8 [1, H, W, 3]. Raises RepairError."""
    try:
        with Image.open(path) as picture:
            return torch.from_numpy(np.array(picture.convert("RGB")))[None]
    except (OSError, Image.DecompressionBombError) as reason:
        raise RepairError(f"{path}: not a picture that can be read ({reason})") from None
