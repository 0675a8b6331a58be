"""What the page does, without the page: draw what was asked for, follow an example out of the noise."""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linnet.audio.spectrogram_image import wav
from linnet.commands.generate import DrawRequest, Plan, decode, draw_batch, plan
from linnet.diffusion.samplers import OnStep, PerSampleNoise
from linnet.inference.diffusion_model import chunks
from linnet.modalities.conditions import as_text, counts, known_conditions, label_names
from linnet.models.conditioning import Condition
from linnet.modalities.preview import encode_example
from linnet.recipe import Audio
from linnet.reports import html
from linnet.stages.sample import sample_batch
from linnet.ui.models import TrainedModel

BATCH_SIZE = 16  # examples drawn at once
SNAPSHOTS = 10  # of an example on its way out of the noise
SUGGESTIONS = 24  # labels offered
SHOWN_PIXELS = 256  # smaller images are enlarged, each pixel to a square, so that no browser blurs them
OnProgress = Callable[[float], None]  # told a fraction from 0 to 1


@dataclass(frozen=True, kw_only=True)
class Asked(DrawRequest):
    """What somebody wants of a model on the page."""

    condition: Condition  # None: told nothing
    count: int


@dataclass(frozen=True)
class Shown:
    """One example, to look at or to listen to."""

    image: NDArray[np.uint8]  # [height, width, 3]: itself, or its spectrogram
    wav: bytes | None  # of audio, to play: Chromium fails at FLAC files of a single block, half a second or less
    content: bytes  # of a PNG or FLAC file, to keep
    file_name: str
    mime: str


@dataclass(frozen=True)
class Drawn:
    """The answer to one wish."""

    title: str
    settings: str
    examples: tuple[Shown, ...]
    took_seconds: float


@dataclass(frozen=True)
class Snapshot:
    """An example on its way out of the noise."""

    timestep: int  # -1: finished
    noise_fraction: float  # of the variance: 1 is pure noise, 0 finished
    shown: Shown


@dataclass(frozen=True)
class Denoised:
    """One example from pure noise to what it became."""

    title: str
    settings: str
    snapshots: tuple[Snapshot, ...]


def draw(model: TrainedModel, asked: Asked, on_progress: OnProgress) -> Drawn:
    """Draw `asked.count` examples; example n depends on the seed, on n and on what else was asked, not on the time.

    Raises:
        LinnetError: the model does not know the condition, or has made no numbers.
    """
    started = time.monotonic()
    planned = _plan(model, asked)
    batches = list(chunks(asked.count, BATCH_SIZE))
    on_step = _counter(on_progress, len(batches) * planned.section.sampler.num_steps)
    found = [
        draw_batch(model.diffusion_model, planned, numbers, _told(asked, numbers), on_step=on_step)
        for numbers in batches
    ]
    examples = np.concatenate(found)
    shown = tuple(show(model, asked, number, example) for number, example in enumerate(examples))
    return Drawn(headline(model, asked), describe(model, asked), shown, time.monotonic() - started)


def denoise(model: TrainedModel, asked: Asked, number: int, on_progress: OnProgress) -> Denoised:
    """How example `number` of `draw` comes out of the noise: the noise, and evenly spread steps down to the last.

    Raises:
        LinnetError: as `draw` does.
    """
    schedule, planned = model.diffusion_model.schedule, _plan(model, asked)
    num_steps = planned.section.sampler.num_steps
    wanted = set(np.linspace(0, num_steps, min(SNAPSHOTS, num_steps) + 1).round().astype(int).tolist())
    states: list[tuple[int, Tensor]] = []
    seen = 0
    count = _counter(on_progress, num_steps)

    def on_step(timestep: int, x: Tensor) -> None:
        nonlocal seen
        seen += 1
        if seen in wanted:
            states.append((timestep, x))
        count(timestep, x)

    sample_batch(model.diffusion_model, *planned, [number], _told(asked, [number]), on_step=on_step)
    shape, device = states[0][1].shape[1:], model.diffusion_model.device
    states.insert(0, (schedule.num_timesteps - 1, PerSampleNoise(asked.seed, [number], tuple(shape), device).next()))
    examples = [decode(model.diffusion_model, planned, x)[0] for _, x in states]
    snapshots = tuple(
        Snapshot(
            timestep, 1 - float(schedule.at(torch.tensor(timestep))), show(model, asked, number, example, step=step)
        )
        for step, ((timestep, _), example) in enumerate(zip(states, examples, strict=True))
    )
    return Denoised(headline(model, asked), f"example {number}, {describe(model, asked)}", snapshots)


def strip(snapshots: tuple[Snapshot, ...]) -> NDArray[np.uint8]:
    """All snapshots side by side in one image [height, width, 3]."""
    return html.grid(np.stack([snapshot.shown.image for snapshot in snapshots]), columns=len(snapshots))


def show(model: TrainedModel, asked: Asked, number: int, example: NDArray[Any], *, step: int | None = None) -> Shown:
    """One decoded example with the file that people can keep; `step` names a snapshot of it."""
    data, codec = model.diffusion_model.recipe.data, model.diffusion_model.codec
    stream = io.BytesIO()
    encode_example(stream, example, data)
    name = f"seed{asked.seed}-{number:02d}" + ("" if step is None else f"-step{step:02d}")
    image = codec.images(example[None])[0]
    if isinstance(data, Audio):
        return Shown(image, wav(example, data.sample_rate_hz), stream.getvalue(), f"{name}.flac", "audio/flac")
    scale = -(-SHOWN_PIXELS // min(image.shape[:2]))
    enlarged = image.repeat(scale, axis=0).repeat(scale, axis=1)
    return Shown(enlarged, None, stream.getvalue(), f"{name}.png", "image/png")


def headline(model: TrainedModel, asked: Asked) -> str:
    """Which model was told what."""
    return f"{model.title}: {as_text(asked.condition, model.statistics) or 'no prompt'}"


def describe(model: TrainedModel, asked: Asked) -> str:
    """The settings that make the same examples again, in a line."""
    section = _plan(model, asked).section
    parts = [f"seed {section.seed}", f"{section.sampler.num_steps} steps of {section.sampler.kind}"]
    if asked.condition is not None:
        parts.append(f"guidance {section.guidance_scale:g}")
    if asked.seconds is not None:
        parts.append(f"{asked.seconds:g} s of audio")
    return ", ".join(parts)


def suggestions(model: TrainedModel) -> list[str]:
    """Labels that the model was trained with, those of most examples first."""
    weights = dict.fromkeys(label_names(model.statistics), 0)
    names = (
        [recording["labels"] for recording in model.statistics["recordings"]]
        if "recordings" in model.statistics
        else None
    )
    for labels, count in zip(names or [[name] for name in weights], counts(model.statistics), strict=True):
        for label in labels:
            weights[label] += count
    heard = [label for label, weight in weights.items() if weight]
    return sorted(heard, key=lambda label: (-weights[label], label))[:SUGGESTIONS]


def example_prompt(model: TrainedModel) -> str:
    """Words as the model was trained with."""
    return as_text(known_conditions(model.diffusion_model.recipe.conditioning, model.statistics)[0], model.statistics)


def _plan(model: TrainedModel, asked: Asked) -> Plan:
    return plan(model.diffusion_model.recipe, model.section, asked, is_told=asked.condition is not None)


def _told(asked: Asked, numbers: list[int]) -> list[Condition] | None:
    return None if asked.condition is None else [asked.condition] * len(numbers)


def _counter(on_progress: OnProgress, total: int) -> OnStep:
    done = 0

    def on_step(timestep: int, x: Tensor) -> None:
        nonlocal done
        done += 1
        on_progress(done / total)

    return on_step
