"""draw: samples of a trained model on request, outside the pipeline: any prompt, any seed, any length."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from linnet import pages
from linnet.artifacts import Model, Samples
from linnet.errors import LinnetError
from linnet.files import new_folder, read_json
from linnet.progress import Meter, say
from linnet.recipe import SampleSection, Sound
from linnet.stages.codec import Stored
from linnet.stages.conditions import parse_prompt
from linnet.stages.sample import length_of
from linnet.stages.shown import write_example, write_page
from linnet.stages.wiring import Painter, chunks, load_painter


class DrawError(LinnetError):
    """What was asked for cannot be drawn."""


@dataclass(frozen=True)
class Wish:
    """What somebody wants; None leaves it as the recipe says."""

    prompts: tuple[str, ...]  # none: as the recipe would, without any
    count: int  # for each prompt
    seed: int
    guidance_scale: float | None
    num_steps: int | None
    seconds: float | None  # of sound


def run(section: SampleSection, wish: Wish, *, model: Path, out: Path, device: torch.device, batch_size: int) -> None:
    """Draw what `wish` says from the model folder into `out`: single files, samples.csv and a page.

    Raises:
        DrawError: the wish makes no sense for this model.
        PromptError: a prompt makes none.
        ArtifactError: `model` is no whole model folder.
    """
    _check_out(out)
    painter = load_painter(model, weights=section.weights, device=device)
    recipe = painter.recipe
    statistics = read_json(model / Model.statistics, made_by="train")
    asked = [parse_prompt(recipe.conditioning, statistics, prompt) for prompt in wish.prompts]
    conditions = [condition for condition in asked for _ in range(wish.count)]
    prompts = [prompt for prompt in wish.prompts for _ in range(wish.count)] or [""] * wish.count
    if not conditions and wish.guidance_scale not in (None, 1.0):
        raise DrawError(f"--guidance {wish.guidance_scale:g} needs a prompt to be guided to")
    guidance = section.guidance_scale if wish.guidance_scale is None else wish.guidance_scale
    guidance = guidance if conditions else 1.0
    steps = wish.num_steps or section.sampler.num_steps
    if steps > recipe.diffusion.schedule.num_timesteps:
        raise DrawError(f"--steps {steps}: this model knows at most {recipe.diffusion.schedule.num_timesteps}")
    if wish.seconds is not None and not isinstance(recipe.data, Sound):
        raise DrawError("--seconds is for sound; this model draws pictures")
    length = length_of(recipe, section, wish.seconds)
    sampler = section.sampler.model_copy(update={"num_steps": steps})
    found = []
    with Meter("draw: examples", len(prompts)) as meter:
        for numbers in chunks(len(prompts), batch_size):
            x = painter.draw(
                sampler,
                seed=wish.seed,
                numbers=numbers,
                conditions=[conditions[number] for number in numbers] if conditions else None,
                guidance_scale=guidance,
                clip_x0=section.clip_x0,
                precision=section.precision,
                frames=length.frames,
                overlap_fraction=length.overlap_fraction,
            )
            found.append(painter.codec.decode(x)[:, : length.samples])
            meter.advance(len(numbers))
    lead = f"{steps} steps of {sampler.kind}, seed {wish.seed}, guidance {guidance:g}."
    _write(out, painter, np.concatenate(found), prompts, wish.seed, lead)
    say(f"{out}: {len(prompts)} samples, look at {out / Samples.page}")


def _check_out(out: Path) -> None:
    """What lies at `out` is replaced: raises DrawError where that would be somebody's own folder."""
    if out.exists() and not (out / Samples.manifest).is_file():
        raise DrawError(f"--out {out}: is there already, and was not drawn by linnet; give a new folder")


def _write(out: Path, painter: Painter, examples: Stored, prompts: list[str], seed: int, lead: str) -> None:
    data = painter.recipe.data
    with new_folder(out) as folder, (folder / Samples.manifest).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["number", "seed", "condition", "file"])
        for number, (example, prompt) in enumerate(zip(examples, prompts, strict=True)):
            writer.writerow([number, seed, prompt, write_example(folder / f"{number:06d}", example, data)])
        pages.save_png(folder / Samples.grid, pages.grid(painter.codec.pictures(examples)))
        write_page(folder, painter.recipe, examples, prompts, title="Drawn on request", lead=lead)
