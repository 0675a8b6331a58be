"""What the page does, without the page: generate what was asked for, follow an example out of the noise."""

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
from linnet.diffusion.samplers import OnStep, PerSampleNoise
from linnet.inference.batching import index_batches
from linnet.inference.memory import explains_examples_memory
from linnet.inference.requests import GenerationRequest
from linnet.inference.sampling import SamplingPlan
from linnet.modalities.conditions import as_text, known_conditions
from linnet.modalities.write import encode_example
from linnet.recipe import Audio
from linnet.reports import html
from linnet.ui.models import TrainedModel

BATCH_SIZE = 16  # examples generated at once
SNAPSHOTS = 10  # of an example on its way out of the noise
SUGGESTIONS = 24  # labels offered
PREVIEW_PIXELS = 256  # smaller images are enlarged, each pixel to a square, so that no browser blurs them
OnProgress = Callable[[float], None]  # called with a fraction from 0 to 1


@dataclass(frozen=True)
class Preview:
    """One example, to look at or to listen to, and as a file to keep."""

    image: NDArray[np.uint8]  # [height, width, 3]: itself, or its spectrogram
    wav: bytes | None  # of audio, to play: Chromium fails at FLAC files of a single block, half a second or less
    content: bytes  # of a PNG or FLAC file
    file_name: str
    mime: str


@dataclass(frozen=True)
class GenerationResult:
    """The examples of one request."""

    title: str
    settings: str
    examples: tuple[Preview, ...]
    took_seconds: float


@dataclass(frozen=True)
class Snapshot:
    """An example on its way out of the noise."""

    timestep: int  # -1: finished
    noise_fraction: float  # of the variance: 1 is pure noise, 0 finished
    preview: Preview


@dataclass(frozen=True)
class DenoisingResult:
    """One example from pure noise to what it became."""

    title: str
    settings: str
    snapshots: tuple[Snapshot, ...]


def generate(model: TrainedModel, request: GenerationRequest, on_progress: OnProgress) -> GenerationResult:
    """The examples of a request; example n depends on the seed, on n and on the other settings, not on the time.

    Raises:
        LinnetError: the model does not know the condition, or has made no numbers.
    """
    started = time.monotonic()
    plan = _plan(model, request)
    batches = index_batches(request.count, BATCH_SIZE)
    on_step = _counter(on_progress, len(batches) * plan.section.sampler.num_steps)
    with explains_examples_memory(
        model.diffusion_model,
        plan.section.precision,
        min(request.count, BATCH_SIZE),
        option="ask for no more examples than",
        frames=plan.length.frames,
    ):
        examples = np.concatenate(
            [plan.generate(model.diffusion_model, indices, on_step=on_step) for indices in batches]
        )
    previews = tuple(preview(model, request, index, example) for index, example in enumerate(examples))
    return GenerationResult(headline(model, request), describe(model, request), previews, time.monotonic() - started)


def denoise(model: TrainedModel, request: GenerationRequest, index: int, on_progress: OnProgress) -> DenoisingResult:
    """How example `index` of a request comes out of the noise: the noise, and evenly spread steps down to the last.

    Raises:
        LinnetError: as `generate` does.
    """
    diffusion_model, plan = model.diffusion_model, _plan(model, request)
    schedule, num_steps = diffusion_model.schedule, plan.section.sampler.num_steps
    kept_steps = set(np.linspace(0, num_steps, min(SNAPSHOTS, num_steps) + 1).round().astype(int).tolist())
    states: list[tuple[int, Tensor]] = []
    steps_done = 0
    count = _counter(on_progress, num_steps)

    def on_step(timestep: int, x: Tensor) -> None:
        nonlocal steps_done
        steps_done += 1
        if steps_done in kept_steps:
            states.append((timestep, x))
        count(timestep, x)

    plan.sample(diffusion_model, [index], on_step=on_step)
    noise = PerSampleNoise(request.seed, [index], tuple(states[0][1].shape[1:]), diffusion_model.device)
    states.insert(0, (schedule.num_timesteps - 1, noise.next()))
    examples = [plan.decode(diffusion_model, x)[0] for _, x in states]
    snapshots = tuple(
        Snapshot(
            timestep,
            1 - float(schedule.at(torch.tensor(timestep))),
            preview(model, request, index, example, step=step),
        )
        for step, ((timestep, _), example) in enumerate(zip(states, examples, strict=True))
    )
    return DenoisingResult(headline(model, request), f"example {index}, {describe(model, request)}", snapshots)


def strip(snapshots: tuple[Snapshot, ...]) -> NDArray[np.uint8]:
    """All snapshots side by side in one image [height, width, 3]."""
    return html.grid(np.stack([snapshot.preview.image for snapshot in snapshots]), columns=len(snapshots))


def preview(
    model: TrainedModel, request: GenerationRequest, index: int, example: NDArray[Any], *, step: int | None = None
) -> Preview:
    """One decoded example with the file that people can keep; `step` names a snapshot of it."""
    data, codec = model.diffusion_model.recipe.data, model.diffusion_model.codec
    stream = io.BytesIO()
    encode_example(stream, example, data)
    name = f"seed{request.seed}-{index:02d}" + ("" if step is None else f"-step{step:02d}")
    image = codec.preview(example[None])[0]
    if isinstance(data, Audio):
        return Preview(image, wav(example, data.sample_rate_hz), stream.getvalue(), f"{name}.flac", "audio/flac")
    scale = -(-PREVIEW_PIXELS // min(image.shape[:2]))
    enlarged = image.repeat(scale, axis=0).repeat(scale, axis=1)
    return Preview(enlarged, None, stream.getvalue(), f"{name}.png", "image/png")


def headline(model: TrainedModel, request: GenerationRequest) -> str:
    """Which model generated, and from which prompt."""
    return f"{model.title}: {as_text(request.conditions[0], model.statistics) or 'no prompt'}"


def describe(model: TrainedModel, request: GenerationRequest) -> str:
    """The settings that make the same examples again, in a line."""
    section = _plan(model, request).section
    parts = [f"seed {section.seed}", f"{section.sampler.num_steps} steps of {section.sampler.kind}"]
    if request.is_conditional:
        parts.append(f"guidance {section.guidance_scale:g}")
    if request.duration_seconds is not None:
        parts.append(f"{request.duration_seconds:g} s of audio")
    return ", ".join(parts)


def suggestions(model: TrainedModel) -> list[str]:
    """Labels that the model was trained with, those of most examples first."""
    weights = dict.fromkeys(model.statistics.label_names, 0)
    for labels, count in zip(model.statistics.labels, model.statistics.example_counts, strict=True):
        for label in labels:
            weights[label] += count
    used = [label for label, weight in weights.items() if weight]
    return sorted(used, key=lambda label: (-weights[label], label))[:SUGGESTIONS]


def example_prompt(model: TrainedModel) -> str:
    """Words as the model was trained with."""
    known = known_conditions(model.diffusion_model.recipe.conditioning, model.statistics)
    pairs = zip(known, model.statistics.example_counts, strict=True)
    return as_text(next(condition for condition, count in pairs if count), model.statistics)


def _plan(model: TrainedModel, request: GenerationRequest) -> SamplingPlan:
    return request.resolve(model.diffusion_model.recipe, model.section)


def _counter(on_progress: OnProgress, total: int) -> OnStep:
    done = 0

    def on_step(timestep: int, x: Tensor) -> None:
        nonlocal done
        done += 1
        on_progress(done / total)

    return on_step
