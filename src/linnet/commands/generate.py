"""generate: samples of a trained model on request, outside the pipeline: any prompt, any seed, any length."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from linnet.artifacts import Model
from linnet.files import new_folder, write_json, write_text
from linnet.inference.batching import index_batches
from linnet.inference.diffusion_model import DiffusionModel
from linnet.inference.memory import explains_examples_memory
from linnet.inference.requests import GenerationError, GenerationRequest
from linnet.inference.sampling import SamplingPlan
from linnet.modalities.base import Examples
from linnet.modalities.conditions import as_text, condition_cells, condition_columns
from linnet.modalities.prompts import parse_prompt
from linnet.modalities.write import write_example
from linnet.models.conditioning import Condition
from linnet.progress import ProgressBar, log
from linnet.recipe import DataSection, SampleSection
from linnet.reports import html
from linnet.reports.samples import describe_sampling, render_samples

RESULT = "generate.json"  # what was asked for, beside the samples
MANIFEST = "samples.csv"
GRID = "grid.png"
PAGE = "report.html"


@dataclass(frozen=True)
class GenerateOptions:
    """The options of the command; None leaves a setting as the recipe has it."""

    prompts: tuple[str, ...]  # none: unconditional
    count: int  # for each prompt
    seed: int
    num_steps: int | None = None
    guidance_scale: float | None = None
    duration_seconds: float | None = None

    def request(self, model: DiffusionModel) -> GenerationRequest:
        """The options as a request of `model`. Raises PromptError where a prompt makes no sense for it."""
        section, statistics = model.recipe.conditioning, model.statistics
        conditions = [parse_prompt(section, statistics, prompt) for prompt in self.prompts] or [None]
        return GenerationRequest(
            conditions=tuple(condition for condition in conditions for _ in range(self.count)),
            seed=self.seed,
            num_steps=self.num_steps,
            guidance_scale=self.guidance_scale,
            duration_seconds=self.duration_seconds,
        )


def run(
    section: SampleSection, options: GenerateOptions, *, model: Path, out: Path, device: torch.device, batch_size: int
) -> None:
    """Generate what `options` say from the model folder into `out`: single files, a table, the settings and a page.

    Raises:
        GenerationError: the request makes no sense for this model, or `out` is somebody's own folder.
        PromptError: a prompt makes none.
        ArtifactError: `model` is no whole model folder.
    """
    _check_out(out)
    diffusion_model = DiffusionModel.load(model, weights=section.weights, device=device)
    request = options.request(diffusion_model)
    plan = request.resolve(diffusion_model.recipe, section)
    examples = _generate(diffusion_model, plan, request.count, batch_size)
    conditions = request.conditions[:: options.count]  # of each prompt
    with new_folder(out) as folder:
        _write(folder, diffusion_model, plan, examples, request.conditions)
        meant = [as_text(condition, diffusion_model.statistics) for condition in conditions]
        write_json(folder / RESULT, _settings(options, meant, plan.section, model))
    for prompt, condition in zip(options.prompts, meant, strict=False):
        if prompt != condition:
            log(f"generate: '{prompt}' is {condition}")
    log(f"{out}: {request.count} samples, look at {out / PAGE}")


def _generate(model: DiffusionModel, plan: SamplingPlan, count: int, batch_size: int) -> Examples:
    batches, precision, at_once = [], plan.section.precision, min(count, batch_size)
    with (
        ProgressBar("generate: examples", count) as bar,
        explains_examples_memory(model, precision, at_once, frames=plan.length.frames),
    ):
        for indices in index_batches(count, batch_size):
            batches.append(plan.generate(model, indices))
            bar.advance(len(indices))
        return np.concatenate(batches)


def _check_out(out: Path) -> None:
    """What lies at `out` is replaced: raises GenerationError where that would be somebody's own folder."""
    if out.exists() and not (out / RESULT).is_file():
        raise GenerationError(f"--out {out}: is there already, and was not made by linnet generate; give a new folder")


def _write(
    folder: Path, model: DiffusionModel, plan: SamplingPlan, examples: Examples, conditions: Sequence[Condition]
) -> None:
    """Everything to look at and listen to."""
    data: DataSection = model.recipe.data
    section, statistics = model.recipe.conditioning, model.statistics
    with (folder / MANIFEST).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["number", "seed", *condition_columns(section), "file"])
        for index, (example, condition) in enumerate(zip(examples, conditions, strict=True)):
            name = write_example(folder / f"{index:06d}", example, data)
            writer.writerow([index, plan.section.seed, *condition_cells(condition, section, statistics), name])
    html.save_png(folder / GRID, html.grid(model.codec.preview(examples)))
    lead = f"{describe_sampling(plan.section)}."
    texts = [as_text(condition, statistics) for condition in conditions]
    write_text(folder / PAGE, render_samples(data, examples, texts, title="Generated on request", lead=lead))


def _settings(
    options: GenerateOptions, conditions: list[str], section: SampleSection, model: Path
) -> dict[str, object]:
    """All that makes the same samples again, and what each prompt was taken for."""
    seconds = options.duration_seconds
    return {
        "model": str(model),
        "model_hash": Model.content_hash(model),
        "weights": section.weights,
        "prompts": list(options.prompts),
        "conditions": conditions[: len(options.prompts)],
        "count": options.count,
        "seed": section.seed,
        "sampler": section.sampler.model_dump(mode="json"),
        "guidance_scale": section.guidance_scale,
        "length": section.length.model_dump(mode="json") if seconds is None else {"seconds": seconds},
    }
