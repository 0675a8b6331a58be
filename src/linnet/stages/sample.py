"""sample: a model in, images or audio out."""

import csv
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from linnet.artifacts import (
    Model,
    Samples,
    check_settings,
    input_hash,
    is_current,
    read_provenance,
    write_provenance,
)
from linnet.audio.loudness import loudness_dbfs
from linnet.data.arrays import ArrayWriter, open_array, write_array
from linnet.files import ArtifactError, new_folder, write_text
from linnet.hashes import folder_hash
from linnet.inference.batching import index_batches
from linnet.inference.diffusion_model import DiffusionModel, load_training_recipe
from linnet.inference.memory import explains_examples_memory
from linnet.inference.noising import noising_snapshots
from linnet.inference.sampling import SamplingPlan, plan_samples, write_samples
from linnet.modalities.conditions import condition_cells, condition_columns
from linnet.modalities.statistics import Statistics, read_statistics
from linnet.modalities.write import write_example
from linnet.models.precision import resolve_precision
from linnet.progress import log
from linnet.recipe import Audio, Recipe, TrainingRecipe
from linnet.stages.table import SAMPLE

LOUDNESS = ("peak_dbfs", "rms_dbfs")


def run(recipe: Recipe, *, model: Path, out: Path, device: torch.device, batch_size: int) -> None:
    """Generate `recipe.sample.num_samples` examples from the model folder `model` into `out`.

    Raises:
        ArtifactError: `model` is no whole model folder, or was trained with other settings.
    """
    section = recipe.sample
    inputs = _inputs(recipe, model, resolve_precision(section.precision, device))
    if is_current(out, input_hash(SAMPLE, [section], inputs)):
        log(f"{out}: already generated from this model with these settings")
        return
    diffusion_model = DiffusionModel.load(model, weights=section.weights, device=device)
    plan = plan_samples(diffusion_model.recipe, diffusion_model.statistics, section)
    batches = index_batches(section.num_samples, batch_size)
    with new_folder(out) as folder, _explains_memory(diffusion_model, plan, batches):
        write_samples(diffusion_model, plan, folder / Samples.examples, batches, description="sample: examples")
        write_array(folder / Samples.noising, noising_snapshots(diffusion_model, plan))
        _finish(folder, plan, inputs, diffusion_model.recipe, diffusion_model.statistics)
    log(f"{out}: {section.num_samples} samples")


def sample_shard(
    recipe: Recipe, *, model: Path, out: Path, device: torch.device, batch_size: int, shard: int, num_shards: int
) -> None:
    """Generate the examples of one of `num_shards` tasks that share the work, for `collect` to join.

    Whole batches are shared out, so each example is made beside the same others as by `run`, to the same bits.

    Raises:
        ArtifactError: as `run` does.
    """
    section = recipe.sample
    inputs = _inputs(recipe, model, resolve_precision(section.precision, device))
    diffusion_model = DiffusionModel.load(model, weights=section.weights, device=device)
    plan = plan_samples(diffusion_model.recipe, diffusion_model.statistics, section)
    batches = batches_of_shard(index_batches(section.num_samples, batch_size), shard, num_shards)
    with new_folder(out) as folder, _explains_memory(diffusion_model, plan, batches):
        description = f"sample: examples of shard {shard + 1} of {num_shards}"
        write_samples(diffusion_model, plan, folder / Samples.examples, batches, description=description)
        write_text(folder / Samples.indices, "".join(f"{index}\n" for batch in batches for index in batch))
        if shard == 0:
            write_array(folder / Samples.noising, noising_snapshots(diffusion_model, plan))
        write_provenance(folder, SAMPLE, [section], inputs)


def collect(recipe: Recipe, *, model: Path, shards: list[Path], out: Path) -> None:
    """Join what `sample_shard` made into the folder that `run` would have made.

    Raises:
        ArtifactError: a shard is missing, damaged, twice there, or of another model or other settings.
    """
    section = recipe.sample
    first = read_provenance(shards[0], made_by="sample")
    precision = first["inputs"].get("precision", "")  # of the devices that made the shards
    inputs = _inputs(recipe, model, precision)
    found: dict[int, NDArray[np.generic]] = {}
    noising = None
    for shard in shards:
        _check_shard(shard, recipe, inputs, model)
        indices = [int(line) for line in (shard / Samples.indices).read_text().split()]
        examples = open_array(shard / Samples.examples) if indices else np.empty(0)  # without a batch there is none
        if found.keys() & set(indices) or len(indices) != len(examples):
            raise ArtifactError(f"{shard} does not fit the other shards; run all of them again")
        found |= dict(zip(indices, examples, strict=True))
        noising = shard / Samples.noising if (shard / Samples.noising).exists() else noising
    if missing := [index for index in range(section.num_samples) if index not in found]:
        raise ArtifactError(f"{len(missing)} of {section.num_samples} samples are missing; run the missing shards")
    training, statistics = load_training_recipe(model), read_statistics(model / Model.statistics, made_by="train")
    with new_folder(out) as folder:
        with ArrayWriter(folder / Samples.examples, found[0].shape, found[0].dtype.type) as writer:
            for index in range(section.num_samples):
                writer.append(found[index])
        assert noising is not None, "the first shard has it"
        shutil.copyfile(noising, folder / Samples.noising)
        _finish(folder, plan_samples(training, statistics, section), inputs, training, statistics)
    log(f"{out}: {section.num_samples} samples from {len(shards)} shards")


def batches_of_shard(batches: list[list[int]], shard: int, num_shards: int) -> list[list[int]]:
    """Runs of neighbouring batches, as even as can be."""
    bounds = [len(batches) * index // num_shards for index in (shard, shard + 1)]
    return batches[bounds[0] : bounds[1]]


def _explains_memory(
    model: DiffusionModel, plan: SamplingPlan, batches: list[list[int]]
) -> AbstractContextManager[None]:
    largest = max(map(len, batches), default=1)
    return explains_examples_memory(model, plan.section.precision, largest, frames=plan.length.frames)


def _inputs(recipe: Recipe, model: Path, precision: str) -> dict[str, str]:
    check_settings(model, made_by="train", section=recipe.training())
    return {"model": Model.content_hash(model), "precision": precision}


def _check_shard(shard: Path, recipe: Recipe, inputs: dict[str, str], model: Path) -> None:
    provenance = check_settings(shard, made_by="sample", section=recipe.sample)
    if provenance["inputs"] != inputs:
        raise ArtifactError(
            f"{shard} was generated from another model than {model}, or in another precision; run its shard again"
        )
    if provenance["content_hash"] != folder_hash(shard):
        raise ArtifactError(f"{shard} is damaged: it is not what was written there; run its shard again")


def _finish(
    folder: Path, plan: SamplingPlan, inputs: dict[str, str], recipe: TrainingRecipe, statistics: Statistics
) -> None:
    """All that follows from the samples and their conditions."""
    section = plan.section
    conditions = plan.conditions or [None] * section.num_samples
    cells = [condition_cells(condition, recipe.conditioning, statistics) for condition in conditions]
    _write_files(folder, plan, recipe, cells)
    write_text(folder / Samples.recipe, section.model_dump_json(indent=2) + "\n")
    write_provenance(folder, SAMPLE, [section], inputs)


def _write_files(folder: Path, plan: SamplingPlan, recipe: TrainingRecipe, conditions: list[list[str | int]]) -> None:
    section, is_audio = plan.section, isinstance(recipe.data, Audio)
    (folder / Samples.files).mkdir()
    examples = open_array(folder / Samples.examples)
    with (folder / Samples.manifest).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["number", "seed", *condition_columns(recipe.conditioning), "file", *(LOUDNESS if is_audio else [])]
        )
        for index, cells in enumerate(conditions):
            name = ""
            if index < section.num_files:
                name = write_example(folder / Samples.files / f"{index:06d}", examples[index], recipe.data)
                name = f"{Samples.files}/{name}"
            loudness = [f"{value:.2f}" for value in loudness_dbfs(examples[index])] if is_audio else []
            writer.writerow([index, section.seed, *cells, name, *loudness])
