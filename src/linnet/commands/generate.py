"""draw: samples of a trained model on request, outside the pipeline: any prompt, any seed, any length."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from linnet.artifacts import Model, Samples
from linnet.diffusion.samplers import OnStep
from linnet.errors import LinnetError
from linnet.files import new_folder, read_json, write_json
from linnet.inference.diffusion_model import DiffusionModel, chunks
from linnet.modalities.codec import Stored
from linnet.modalities.conditions import parse_prompt
from linnet.models.conditioning import Condition
from linnet.modalities.preview import write_example, write_page
from linnet.progress import ProgressBar, log
from linnet.recipe import Audio, Longer, SampleSection, TrainingRecipe
from linnet.reports import html
from linnet.stages.sample import Length, length_of, sample_batch

RESULT = "draw.json"  # what was asked for, beside the samples
MAX_SECONDS = 600.0  # of audio, unless the model's own are longer


class GenerationError(LinnetError):
    """What was asked for cannot be drawn."""


@dataclass(frozen=True)
class DrawRequest:
    """How somebody wants samples drawn; None leaves it as the recipe says."""

    seed: int
    num_steps: int | None
    guidance_scale: float | None
    seconds: float | None  # of audio


@dataclass(frozen=True, kw_only=True)
class Wish(DrawRequest):
    """What somebody wants from the command line."""

    prompts: tuple[str, ...]  # none: as the recipe would, without any
    count: int  # for each prompt


class Plan(NamedTuple):
    """A request that can be drawn."""

    section: SampleSection  # the recipe's, with the seed, steps and guidance that were asked for
    length: Length


def plan(recipe: TrainingRecipe, section: SampleSection, asked: DrawRequest, *, is_told: bool) -> Plan:
    """How `asked` is drawn from a model of `recipe`, whose samples are otherwise made as `section` says.

    Args:
        is_told: whether there is a condition; without one there is no guidance.

    Raises:
        GenerationError: the request makes no sense for this model.
    """
    usual = section.guidance_scale if is_told else 1.0
    guidance = usual if asked.guidance_scale is None else asked.guidance_scale
    steps = section.sampler.num_steps if asked.num_steps is None else asked.num_steps
    timesteps = recipe.diffusion.schedule.num_timesteps
    if asked.seed < 0:
        raise GenerationError(f"seed = {asked.seed}: give 0 or more")
    if not 1 <= steps <= timesteps:
        raise GenerationError(f"steps = {steps}: give 1 to {timesteps}")
    if guidance != 1 and not is_told:
        raise GenerationError(f"guidance = {guidance:g} needs a label or a prompt to be guided to")
    if not (math.isfinite(guidance) and guidance >= 0):
        raise GenerationError(f"guidance = {guidance:g}: give a number of 0 or more")
    if asked.seconds is not None:
        own = usual_seconds(recipe, section)
        if own is None:
            raise GenerationError(f"seconds = {asked.seconds:g}: this model draws images; leave it out")
        if not 0 < asked.seconds <= max(MAX_SECONDS, own):
            raise GenerationError(
                f"seconds = {asked.seconds:g}: give more than 0 and at most {max(MAX_SECONDS, own):g}"
            )
    sampler = section.sampler.model_copy(update={"num_steps": steps})
    changed = {"sampler": sampler, "seed": asked.seed, "guidance_scale": guidance}
    return Plan(section.model_copy(update=changed), length_of(recipe, section, asked.seconds))


def usual_seconds(recipe: TrainingRecipe, section: SampleSection) -> float | None:
    """How long an audio of the model is, where nobody asks for another length; None for images."""
    match recipe.data, section.length:
        case Audio(), Longer(duration_seconds=seconds):
            return seconds
        case Audio() as data, _:
            return data.window_samples / data.sample_rate_hz
        case _:
            return None


def draw_batch(
    diffusion_model: DiffusionModel,
    planned: Plan,
    numbers: list[int],
    conditions: Sequence[Condition] | None,
    *,
    on_step: OnStep | None = None,
) -> Stored:
    """Decoded examples, one condition for each number; example n depends on the plan, on n and on its condition alone.

    Raises:
        LinnetError: the model does not know a condition, has to be told one, or has made no numbers.
    """
    return decode(
        diffusion_model, planned, sample_batch(diffusion_model, *planned, numbers, conditions, on_step=on_step)
    )


def decode(diffusion_model: DiffusionModel, planned: Plan, x: Tensor) -> Stored:
    """Images, or waveforms of the length that was asked for: a model draws whole frames, and a window at least."""
    return diffusion_model.codec.decode(x)[:, : planned.length.samples]


def run(section: SampleSection, wish: Wish, *, model: Path, out: Path, device: torch.device, batch_size: int) -> None:
    """Draw what `wish` says from the model folder into `out`: single files, samples.csv, draw.json and a page.

    Raises:
        GenerationError: the wish makes no sense for this model, or `out` is somebody's own folder.
        PromptError: a prompt makes none.
        ArtifactError: `model` is no whole model folder.
    """
    _check_out(out)
    diffusion_model = DiffusionModel.load(model, weights=section.weights, device=device)
    statistics = read_json(model / Model.statistics, made_by="train")
    asked = [parse_prompt(diffusion_model.recipe.conditioning, statistics, prompt) for prompt in wish.prompts]
    conditions = [condition for condition in asked for _ in range(wish.count)]
    prompts = [prompt for prompt in wish.prompts for _ in range(wish.count)] or [""] * wish.count
    planned = plan(diffusion_model.recipe, section, wish, is_told=bool(conditions))
    found = []
    with ProgressBar("draw: examples", len(prompts)) as bar:
        for numbers in chunks(len(prompts), batch_size):
            told = [conditions[number] for number in numbers] if conditions else None
            found.append(draw_batch(diffusion_model, planned, numbers, told))
            bar.advance(len(numbers))
    with new_folder(out) as folder:
        _write(folder, diffusion_model, np.concatenate(found), prompts, planned.section)
        write_json(folder / RESULT, _settings(wish, planned.section, model))
    log(f"{out}: {len(prompts)} samples, look at {out / Samples.page}")


def _check_out(out: Path) -> None:
    """What lies at `out` is replaced: raises GenerationError where that would be somebody's own folder."""
    if out.exists() and not (out / RESULT).is_file():
        raise GenerationError(f"--out {out}: is there already, and was not made by linnet draw; give a new folder")


def _write(
    folder: Path, diffusion_model: DiffusionModel, examples: Stored, prompts: list[str], section: SampleSection
) -> None:
    """Everything to look at and listen to."""
    data, sampler = diffusion_model.recipe.data, section.sampler
    with (folder / Samples.manifest).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["number", "seed", "condition", "file"])
        for number, (example, prompt) in enumerate(zip(examples, prompts, strict=True)):
            writer.writerow([number, section.seed, prompt, write_example(folder / f"{number:06d}", example, data)])
    html.save_png(folder / Samples.grid, html.grid(diffusion_model.codec.images(examples)))
    lead = f"{sampler.num_steps} steps of {sampler.kind}, seed {section.seed}, guidance {section.guidance_scale:g}."
    write_page(folder, diffusion_model.recipe, examples, prompts, title="Drawn on request", lead=lead)


def _settings(wish: Wish, section: SampleSection, model: Path) -> dict[str, object]:
    """All that makes the same samples again."""
    return {
        "model": str(model),
        "model_hash": Model.content_hash(model),
        "weights": section.weights,
        "prompts": list(wish.prompts),
        "count": wish.count,
        "seed": section.seed,
        "sampler": section.sampler.model_dump(mode="json"),
        "guidance": section.guidance_scale,
        "length": section.length.model_dump(mode="json") if wish.seconds is None else {"seconds": wish.seconds},
    }
