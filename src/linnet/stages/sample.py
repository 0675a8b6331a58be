"""sample: a model in, images or audio out."""

import csv
import math
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, assert_never

import numpy as np
import torch
from numpy.typing import NDArray

from linnet.artifacts import Model, Samples, check_settings, input_hash, is_current, write_provenance
from linnet.data.arrays import ArrayWriter, open_array
from linnet.diffusion.objective import diffuse
from linnet.diffusion.samplers import OnStep
from linnet.diffusion.schedule import build_schedule
from linnet.files import ArtifactError, new_folder, read_json, write_text
from linnet.hashes import folder_hash
from linnet.inference.diffusion_model import DiffusionModel, chunks, load_training_recipe
from linnet.modalities import conditions as conditioning
from linnet.modalities.codec import Statistics, build_codec
from linnet.models.conditioning import Condition
from linnet.modalities.preview import LOUDNESS, loudness_of, write_example, write_page
from linnet.progress import ProgressBar, log
from linnet.recipe import DDPM, AsTrained, Audio, Longer, Recipe, SampleSection, TrainingRecipe
from linnet.reports import html

GRID_EXAMPLES = 64
NOISING_EXAMPLES = 2
NOISING_SNAPSHOTS = 10
NOISING_STEPS = 100  # ancestral steps of the figure, a snapshot every tenth
USUAL_OVERLAP = 0.5  # of windows, where the recipe draws none that are longer than a training example
CONDITION_STREAM = 0x1ABE1  # with the 0 before it no example's number, so conditions and noise are drawn apart


def run(recipe: Recipe, *, model: Path, out: Path, device: torch.device, batch_size: int) -> None:
    """Draw `recipe.sample.num_samples` images from the model folder `model` into `out`.

    Raises:
        ArtifactError: `model` is no whole model folder, or was trained with other settings.
    """
    section, inputs = recipe.sample, _inputs(recipe, model)
    if is_current(out, input_hash("sample", [section], inputs)):
        log(f"{out}: already drawn from this model with these settings")
        return
    diffusion_model = DiffusionModel.load(model, weights=section.weights, device=device)
    statistics = read_json(model / Model.statistics, made_by="train")
    conditions = sample_conditions(diffusion_model.recipe, statistics, section)
    with new_folder(out) as folder:
        batches = list(chunks(section.num_samples, batch_size))
        write_samples(diffusion_model, section, conditions, folder / Samples.examples, batches, what="sample: examples")
        html.save_png(folder / Samples.noising, noising_figure(diffusion_model, section, conditions))
        _finish(folder, diffusion_model.recipe, section, inputs, conditions, statistics)
    log(f"{out}: {section.num_samples} samples, look at {out / Samples.page}")


def draw_part(
    recipe: Recipe, *, model: Path, out: Path, device: torch.device, batch_size: int, part: int, parts: int
) -> None:
    """Draw the images of one of `parts` tasks that share the work, for `collect` to join.

    Whole batches are shared out, so each image is drawn beside the same others as by `run`, to the same bits.

    Raises:
        ArtifactError: as `run` does.
    """
    section, inputs = recipe.sample, _inputs(recipe, model)
    diffusion_model = DiffusionModel.load(model, weights=section.weights, device=device)
    conditions = sample_conditions(
        diffusion_model.recipe, read_json(model / Model.statistics, made_by="train"), section
    )
    batches = share(list(chunks(section.num_samples, batch_size)), part, parts)
    with new_folder(out) as folder:
        what = f"sample: examples of part {part + 1} of {parts}"
        write_samples(diffusion_model, section, conditions, folder / Samples.examples, batches, what=what)
        write_text(folder / Samples.numbers, "".join(f"{number}\n" for batch in batches for number in batch))
        if part == 0:
            html.save_png(folder / Samples.noising, noising_figure(diffusion_model, section, conditions))
        write_provenance(folder, "sample", [section], inputs)


def collect(recipe: Recipe, *, model: Path, parts: list[Path], out: Path) -> None:
    """Join what `draw_part` drew into the folder that `run` would have made.

    Raises:
        ArtifactError: a part is missing, damaged, twice there, or of another model or other settings.
    """
    section, inputs = recipe.sample, _inputs(recipe, model)
    found: dict[int, NDArray[np.generic]] = {}
    noising = None
    for part in parts:
        provenance = check_settings(part, made_by="sample", section=section)
        if provenance["inputs"] != inputs:
            raise ArtifactError(f"{part} was drawn from another model than {model}; run its part again")
        if provenance["content_hash"] != folder_hash(part):
            raise ArtifactError(f"{part} is damaged: it is not what was written there; run its part again")
        numbers = [int(line) for line in (part / Samples.numbers).read_text().split()]
        examples = open_array(part / Samples.examples) if numbers else np.empty(0)  # without a batch there is none
        if found.keys() & set(numbers) or len(numbers) != len(examples):
            raise ArtifactError(f"{part} does not fit the other parts; run all of them again")
        found |= dict(zip(numbers, examples, strict=True))
        noising = part / Samples.noising if (part / Samples.noising).exists() else noising
    if missing := [number for number in range(section.num_samples) if number not in found]:
        raise ArtifactError(f"{len(missing)} of {section.num_samples} samples are missing; run the missing parts")
    statistics = read_json(model / Model.statistics, made_by="train")
    training = load_training_recipe(model)
    conditions = sample_conditions(training, statistics, section)
    with new_folder(out) as folder:
        with ArrayWriter(folder / Samples.examples, found[0].shape, found[0].dtype.type) as writer:
            for number in range(section.num_samples):
                writer.append(found[number])
        assert noising is not None, "the first part draws it"
        shutil.copyfile(noising, folder / Samples.noising)
        _finish(folder, training, section, inputs, conditions, statistics)
    log(f"{out}: {section.num_samples} samples from {len(parts)} parts")


def share(batches: list[list[int]], part: int, parts: int) -> list[list[int]]:
    """The batches of one part: runs of neighbours, as even as can be."""
    bounds = [len(batches) * place // parts for place in (part, part + 1)]
    return batches[bounds[0] : bounds[1]]


def _inputs(recipe: Recipe, model: Path) -> dict[str, str]:
    check_settings(model, made_by="train", section=recipe.training())
    return {"model": Model.content_hash(model)}


def _finish(
    folder: Path,
    recipe: TrainingRecipe,
    section: SampleSection,
    inputs: dict[str, str],
    conditions: list[Condition] | None,
    statistics: Statistics,
) -> None:
    """All that follows from the samples and their conditions."""
    codec = build_codec(recipe.data, statistics, torch.device("cpu"))
    examples = open_array(folder / Samples.examples)
    prompts = [conditioning.as_text(condition, statistics) for condition in conditions or [None] * len(examples)]
    _write_files(folder, recipe, section, examples, prompts)
    html.save_png(folder / Samples.grid, html.grid(codec.images(np.asarray(examples[:GRID_EXAMPLES]))))
    write_page(folder, recipe, np.asarray(examples), prompts, title="Samples", lead=_lead(section))
    write_text(folder / Samples.recipe, section.model_dump_json(indent=2) + "\n")
    write_provenance(folder, "sample", [section], inputs)


def sample_conditions(recipe: TrainingRecipe, statistics: Statistics, section: SampleSection) -> list[Condition] | None:
    """One condition for each sample, as often as in the training data; None for an unconditional model."""
    rng = np.random.default_rng([section.seed, 0, CONDITION_STREAM])
    return conditioning.sample_conditions(recipe.conditioning, statistics, rng, section.num_samples)


def num_frames(recipe: TrainingRecipe, section: SampleSection) -> int | None:
    """Of samples longer than the training examples; None where they are not."""
    match section.length:
        case AsTrained():
            return None
        case Longer(duration_seconds=seconds):
            assert isinstance(recipe.data, Audio), "the recipe's check"
            frames = 1 + round(seconds * recipe.data.sample_rate_hz / recipe.data.stft.hop_samples)
            return frames if frames > recipe.data.num_frames else None
        case _:
            assert_never(section.length)


class Length(NamedTuple):
    """How long samples become."""

    frames: int | None  # drawn; None: as many as a training example has
    samples: int | None  # kept of a waveform; None: all
    overlap_fraction: float  # of windows, where there are several


def length_of(recipe: TrainingRecipe, section: SampleSection, seconds: float | None) -> Length:
    """What the recipe's length means, or `seconds` of audio where somebody asks for them.

    A model draws whole frames, and a training example at least; what is beyond `seconds` is cut off.
    """
    overlap = section.length.overlap_fraction if isinstance(section.length, Longer) else USUAL_OVERLAP
    if seconds is None:
        return Length(num_frames(recipe, section), None, overlap)
    assert isinstance(recipe.data, Audio), "the caller refuses seconds of images"
    samples = max(1, round(seconds * recipe.data.sample_rate_hz))
    return Length(1 + math.ceil(samples / recipe.data.stft.hop_samples), samples, overlap)


def sample_batch(
    diffusion_model: DiffusionModel,
    section: SampleSection,
    length: Length,
    numbers: list[int],
    conditions: Sequence[Condition] | None,
    *,
    on_step: OnStep | None = None,
) -> torch.Tensor:
    """Standardised examples [len(numbers), C, H, W] as `section` says, one condition for each, in whole frames."""
    return diffusion_model.sample(
        section.sampler,
        seed=section.seed,
        numbers=numbers,
        conditions=conditions,
        guidance_scale=section.guidance_scale,
        clip_x0=section.clip_x0,
        precision=section.precision,
        frames=length.frames,
        overlap_fraction=length.overlap_fraction,
        on_step=on_step,
    )


def write_samples(
    diffusion_model: DiffusionModel,
    section: SampleSection,
    conditions: list[Condition] | None,
    path: Path,
    batches: list[list[int]],
    *,
    what: str,
) -> None:
    """Decoded examples at `path`, written batch by batch."""
    length = length_of(diffusion_model.recipe, section, None)
    with ExitStack() as stack:
        bar = stack.enter_context(ProgressBar(what, sum(map(len, batches))))
        writer: ArrayWriter | None = None
        for numbers in batches:
            told = [conditions[number] for number in numbers] if conditions is not None else None
            decoded = diffusion_model.codec.decode(sample_batch(diffusion_model, section, length, numbers, told))
            if writer is None:
                writer = stack.enter_context(ArrayWriter(path, decoded.shape[1:], decoded.dtype.type))
            for example in decoded:
                writer.append(example)
            bar.advance(len(numbers))


def noising_figure(
    diffusion_model: DiffusionModel, section: SampleSection, conditions: list[Condition] | None
) -> NDArray[np.uint8]:
    """For each image two rows of ten snapshots: noise becoming an image, and that image becoming noise.

    Backward: ancestral sampling. Forward: the finished image, noised to the same timesteps with one noise.
    """
    schedule = build_schedule(diffusion_model.recipe.diffusion.schedule)
    num_steps = min(NOISING_STEPS, schedule.num_timesteps)
    every = max(1, num_steps // NOISING_SNAPSHOTS)
    snapshots: list[tuple[int, torch.Tensor]] = []
    seen = 0

    def on_step(timestep: int, x: torch.Tensor) -> None:
        nonlocal seen
        seen += 1
        if seen % every == 0 or timestep < 0:
            snapshots.append((timestep, x))

    numbers = list(range(min(NOISING_EXAMPLES, section.num_samples)))
    finished = diffusion_model.sample(
        DDPM(kind="ddpm", num_steps=num_steps),
        seed=section.seed,
        numbers=numbers,
        conditions=[conditions[number] for number in numbers] if conditions is not None else None,
        guidance_scale=section.guidance_scale,
        clip_x0=section.clip_x0,
        precision=section.precision,
        on_step=on_step,
    )
    noise = torch.randn(finished.shape, generator=torch.Generator().manual_seed(section.seed)).to(finished.device)
    rows = []
    for number in numbers:
        rows += [x[number] for _, x in snapshots]
        for timestep, _ in reversed(snapshots):
            rates = schedule.rates(torch.tensor([timestep], device=finished.device))
            rows.append(diffuse(finished[number], noise[number], *rates)[0])
    images = diffusion_model.codec.images(diffusion_model.codec.decode(torch.stack(rows)))
    return html.grid(images, columns=len(snapshots))


def _write_files(
    folder: Path, recipe: TrainingRecipe, section: SampleSection, examples: NDArray[np.generic], prompts: list[str]
) -> None:
    (folder / Samples.files).mkdir()
    with (folder / Samples.manifest).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        is_audio = isinstance(recipe.data, Audio)
        writer.writerow(["number", "seed", "condition", "file", *(LOUDNESS if is_audio else [])])
        for number in range(section.num_samples):
            name = ""
            if number < section.num_files:
                name = write_example(folder / Samples.files / f"{number:06d}", examples[number], recipe.data)
                name = f"{Samples.files}/{name}"
            loudness = [f"{value:.2f}" for value in loudness_of(examples[number])] if is_audio else []
            writer.writerow([number, section.seed, prompts[number], name, *loudness])


def _lead(section: SampleSection) -> str:
    sampler = section.sampler
    return (
        f"The first of {section.num_samples} samples, {sampler.num_steps} steps of {sampler.kind}, "
        f"seed {section.seed}, guidance {section.guidance_scale:g}."
    )
