"""restore: held-out examples are damaged, and the trained model brings back what is missing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linnet.artifacts import Dataset, Model, Restored, check_settings, input_hash, is_current, write_provenance
from linnet.data.arrays import ArrayWriter, open_array
from linnet.diffusion.dereverberation import blind_dereverb
from linnet.diffusion.restoration import ddrm
from linnet.diffusion.samplers import OnStep, PerSampleNoise
from linnet.files import ArtifactError, new_folder
from linnet.inference.baselines import baseline, wpe_delay
from linnet.inference.degradations import Problem, build_problem
from linnet.inference.diffusion_model import DiffusionModel, chunks
from linnet.modalities.preview import comparisons
from linnet.progress import ProgressBar, log
from linnet.recipe import Audio, BlindDereverberation, KnownReverb, Recipe, RestorationTask, RestoreSection
from linnet.reports import html
from linnet.stages.table import RESTORE

OBSERVATION_STREAM = 0x0B5E  # the noise of the observation is not the noise of the sampler
WHITENING_STREAM = 0x3117E


@dataclass(frozen=True)
class Outcome:
    """All in natural units [N, C, H, W]: pixels in 0..1, or spectrograms."""

    clean: Tensor
    observed: Tensor
    restored: Tensor
    baseline: Tensor
    missing: Tensor  # bool, broadcasts to [C, H, W]


def run(recipe: Recipe, *, dataset: Path, model: Path, out: Path, device: torch.device, batch_size: int) -> None:
    """Try each task of `recipe.restore` on held-out examples of `dataset`, with the model as prior, into `out`.

    Raises:
        ArtifactError: an input is missing, or they do not belong together.
    """
    section = recipe.restore
    trained = check_settings(model, made_by="train", section=recipe.training())
    inputs = {"dataset": Dataset.content_hash(dataset), "model": Model.content_hash(model)}
    if trained["inputs"]["dataset"] != inputs["dataset"]:
        raise ArtifactError(f"{model} was trained on other data than {dataset}; run `linnet train` again")
    if is_current(out, input_hash(RESTORE, [section], inputs)):
        log(f"{out}: already restored with this model and these settings")
        return
    diffusion_model = DiffusionModel.load(model, weights=section.weights, device=device)
    clean = _held_out(recipe, dataset, diffusion_model)
    with new_folder(out) as folder:
        shown: list[dict[str, Any]] = []
        for task in section.tasks:
            outcome = _try(task, section, diffusion_model, clean, batch_size)
            _write(folder / task.name, outcome)
            examples = comparisons(diffusion_model.codec, recipe.data, vars(outcome))
            shown.append({"name": task.name, "kind": task.kind, "examples": examples})
        page = html.render("restored.html", title="Restorations", tasks=shown, is_audio=isinstance(recipe.data, Audio))
        (folder / Restored.page).write_text(page, encoding="utf-8")
        write_provenance(folder, RESTORE, [section], inputs)
    log(f"{out}: {len(section.tasks)} tasks on {len(clean)} held-out examples, look at {out / Restored.page}")


def _held_out(recipe: Recipe, dataset: Path, diffusion_model: DiffusionModel) -> Tensor:
    """Standardised examples of the test split, spread over it."""
    examples = open_array(dataset / Dataset.examples(recipe.data, "test"))
    rows = np.linspace(0, len(examples) - 1, min(recipe.restore.num_examples, len(examples))).astype(np.int64)
    return diffusion_model.codec.encode(torch.from_numpy(np.array(examples[rows])).to(diffusion_model.device))


def _try(
    task: RestorationTask,
    section: RestoreSection,
    diffusion_model: DiffusionModel,
    clean: Tensor,
    batch_size: int,
) -> Outcome:
    problem = build_problem(
        task, diffusion_model.codec, diffusion_model.recipe.data.shape, seed=section.seed, device=diffusion_model.device
    )
    y = damage(problem, clean, seed=section.seed)
    restored = []
    with ProgressBar(
        f"restore: {task.name}", section.num_draws * section.num_steps * len(list(chunks(len(clean), batch_size)))
    ) as bar:
        for numbers in chunks(len(clean), batch_size):
            restored.append(
                solve(task, section, diffusion_model, problem, y[numbers], numbers, on_step=lambda t, x: bar.advance())
            )
    unstandardize = diffusion_model.codec.unstandardize
    observed, inverted = unstandardize(problem.as_observed(y)), unstandardize(problem.operator.pseudo_inverse(y))
    start = inverted if isinstance(task, KnownReverb) else observed
    return Outcome(
        clean=unstandardize(clean),
        observed=observed * ~problem.missing,
        restored=unstandardize(torch.cat(restored)),
        baseline=baseline(task, diffusion_model.recipe.data, start, problem.missing),
        missing=problem.missing,
    )


def damage(problem: Problem, clean: Tensor, *, seed: int) -> Tensor:
    """What is observed of standardised examples [B, C, H, W], in the operator's own shape."""
    shape = problem.noise_shape(tuple(problem.operator.forward(clean[:1]).shape[1:]))
    noise = PerSampleNoise(seed ^ OBSERVATION_STREAM, list(range(len(clean))), shape, clean.device)
    return problem.damaged(clean, noise.next())


def solve(
    task: RestorationTask,
    section: RestoreSection,
    diffusion_model: DiffusionModel,
    problem: Problem,
    y: Tensor,
    numbers: list[int],
    *,
    on_step: OnStep | None = None,
) -> Tensor:
    """Standardised restorations [B, C, H, W] of observations y; number n decides the noise of row n.

    A conditional model is told nothing. Examples larger than the trained ones are restored in overlapping windows. With
    `section.num_draws` above 1 that many restorations are averaged: as the codec does where nothing was observed and
    phases differ, plainly elsewhere.
    """
    draws = [
        _draw(
            task,
            section,
            diffusion_model,
            problem,
            y,
            [number * section.num_draws + draw for number in numbers],
            on_step,
        )
        for draw in range(section.num_draws)
    ]
    found = torch.stack(draws)
    return torch.where(problem.missing, diffusion_model.codec.average(found), found.mean(dim=0))


def _draw(
    task: RestorationTask,
    section: RestoreSection,
    diffusion_model: DiffusionModel,
    problem: Problem,
    y: Tensor,
    numbers: list[int],
    on_step: OnStep | None,
) -> Tensor:
    is_noise = diffusion_model.recipe.diffusion.prediction == "epsilon"  # x_0 from it divides by a signal rate near 0
    predict = diffusion_model.predictor(
        None, 1.0, clip_x0=is_noise, precision=section.precision, overlap_fraction=section.overlap_fraction
    )
    shape = problem.operator.pseudo_inverse(y).shape[1:]
    noise = PerSampleNoise(section.seed, numbers, tuple(shape), diffusion_model.device)
    y = problem.whitened(
        y, PerSampleNoise(section.seed ^ WHITENING_STREAM, numbers, tuple(shape), diffusion_model.device).next()
    )
    with torch.inference_mode():
        if isinstance(task, BlindDereverberation):
            return blind_dereverb(
                y,
                problem.noise_std.reshape(-1),
                diffusion_model.schedule,
                predict,
                noise,
                filter_frames=task.filter_frames,
                wpe_delay=wpe_delay(diffusion_model.recipe.data),
                num_steps=section.num_steps,
                eta=section.eta,
                eta_b=section.eta_b,
                below_noise=section.below_noise,
                on_step=on_step,
            )
        return ddrm(
            problem.operator,
            y,
            float(problem.noise_std.max()),
            diffusion_model.schedule,
            predict,
            noise,
            num_steps=section.num_steps,
            eta=section.eta,
            eta_b=section.eta_b,
            below_noise=section.below_noise,
            on_step=on_step,
        )


def _write(folder: Path, outcome: Outcome) -> None:
    folder.mkdir()
    for name, value in vars(outcome).items():
        array = value.cpu().numpy()  # by rows: np.save hides errnos
        with ArrayWriter(folder / getattr(Restored, name), array.shape[1:], array.dtype.type) as writer:
            for row in array:
                writer.append(row)
