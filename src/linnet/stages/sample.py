"""sample: a model in, pictures out."""

import csv
import shutil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from linnet import pages
from linnet.artifacts import Model, Samples, check_settings, input_hash, is_current, write_provenance
from linnet.data.arrays import ArrayWriter, open_array
from linnet.diffusion.objective import diffuse
from linnet.diffusion.schedule import build_schedule
from linnet.files import ArtifactError, new_folder, read_json, write_text
from linnet.hashes import folder_hash
from linnet.progress import Meter, say
from linnet.recipe import DDPM, Recipe, SampleSection
from linnet.stages.wiring import Painter, Statistics, chunks, load_painter, load_training_recipe, num_classes

GRID_PICTURES = 64
NOISING_PICTURES = 2
NOISING_SNAPSHOTS = 10
NOISING_STEPS = 100  # ancestral steps of the figure, a snapshot every tenth
LABEL_STREAM = 0x1ABE1  # with the 0 before it no picture's number, so labels and noise are drawn apart


def run(recipe: Recipe, *, model: Path, out: Path, device: torch.device, batch_size: int) -> None:
    """Draw `recipe.sample.num_samples` pictures from the model folder `model` into `out`.

    Raises:
        ArtifactError: `model` is no whole model folder, or was trained with other settings.
    """
    section, inputs = recipe.sample, _inputs(recipe, model)
    if is_current(out, input_hash("sample", [section], inputs)):
        say(f"{out}: already drawn from this model with these settings")
        return
    painter = load_painter(model, weights=section.weights, device=device)
    labels = draw_labels(painter, read_json(model / Model.statistics, made_by="train"), section)
    with new_folder(out) as folder:
        batches = list(chunks(section.num_samples, batch_size))
        write_samples(painter, section, labels, folder / Samples.images, batches, what="sample: pictures")
        pages.save_png(folder / Samples.noising, noising_figure(painter, section, labels))
        _finish(folder, section, inputs, labels, read_json(model / Model.statistics, made_by="train"))
    say(f"{out}: {section.num_samples} pictures, look at {out / Samples.grid}")


def draw_part(
    recipe: Recipe, *, model: Path, out: Path, device: torch.device, batch_size: int, part: int, parts: int
) -> None:
    """Draw the pictures of one of `parts` tasks that share the work, for `collect` to join.

    Whole batches are shared out, so each picture is drawn beside the same others as by `run`, to the same bits.

    Raises:
        ArtifactError: as `run` does.
    """
    section, inputs = recipe.sample, _inputs(recipe, model)
    painter = load_painter(model, weights=section.weights, device=device)
    labels = draw_labels(painter, read_json(model / Model.statistics, made_by="train"), section)
    batches = share(list(chunks(section.num_samples, batch_size)), part, parts)
    with new_folder(out) as folder:
        what = f"sample: pictures of part {part + 1} of {parts}"
        write_samples(painter, section, labels, folder / Samples.images, batches, what=what)
        write_text(folder / Samples.numbers, "".join(f"{number}\n" for batch in batches for number in batch))
        if part == 0:
            pages.save_png(folder / Samples.noising, noising_figure(painter, section, labels))
        write_provenance(folder, "sample", [section], inputs)


def collect(recipe: Recipe, *, model: Path, parts: list[Path], out: Path) -> None:
    """Join what `draw_part` drew into the folder that `run` would have made.

    Raises:
        ArtifactError: a part is missing, damaged, twice there, or of another model or other settings.
    """
    section, inputs = recipe.sample, _inputs(recipe, model)
    found: dict[int, NDArray[np.uint8]] = {}
    noising = None
    for part in parts:
        provenance = check_settings(part, made_by="sample", section=section)
        if provenance["inputs"] != inputs:
            raise ArtifactError(f"{part} was drawn from another model than {model}; run its part again")
        if provenance["content_hash"] != folder_hash(part):
            raise ArtifactError(f"{part} is damaged: it is not what was written there; run its part again")
        numbers = [int(line) for line in (part / Samples.numbers).read_text().split()]
        pictures = open_array(part / Samples.images)
        if found.keys() & set(numbers) or len(numbers) != len(pictures):
            raise ArtifactError(f"{part} does not fit the other parts; run all of them again")
        found |= dict(zip(numbers, pictures, strict=True))
        noising = part / Samples.noising if (part / Samples.noising).exists() else noising
    if missing := [number for number in range(section.num_samples) if number not in found]:
        raise ArtifactError(f"{len(missing)} of {section.num_samples} pictures are missing; run the missing parts")
    statistics = read_json(model / Model.statistics, made_by="train")
    labels = labels_for(num_classes(load_training_recipe(model)), statistics, section)
    with new_folder(out) as folder:
        shape = found[0].shape
        with ArrayWriter(folder / Samples.images, shape, np.uint8) as writer:
            for number in range(section.num_samples):
                writer.append(found[number])
        assert noising is not None, "the first part draws it"
        shutil.copyfile(noising, folder / Samples.noising)
        _finish(folder, section, inputs, labels, statistics)
    say(f"{out}: {section.num_samples} pictures from {len(parts)} parts")


def share(batches: list[list[int]], part: int, parts: int) -> list[list[int]]:
    """The batches of one part: runs of neighbours, as even as can be."""
    bounds = [len(batches) * place // parts for place in (part, part + 1)]
    return batches[bounds[0] : bounds[1]]


def _inputs(recipe: Recipe, model: Path) -> dict[str, str]:
    check_settings(model, made_by="train", section=recipe.training())
    return {"model": Model.content_hash(model)}


def _finish(
    folder: Path, section: SampleSection, inputs: dict[str, str], labels: list[int] | None, statistics: Statistics
) -> None:
    """All that follows from the pictures and their labels."""
    images = np.asarray(open_array(folder / Samples.images), dtype=np.uint8)
    _write_files(folder, section, images, labels, statistics)
    pages.save_png(folder / Samples.grid, pages.grid(images[:GRID_PICTURES]))
    _write_page(folder, section)
    write_text(folder / Samples.recipe, section.model_dump_json(indent=2) + "\n")
    write_provenance(folder, "sample", [section], inputs)


def draw_labels(painter: Painter, statistics: Statistics, section: SampleSection) -> list[int] | None:
    """One label for each sample, as often as in the training data; None for an unconditional model."""
    return labels_for(num_classes(painter.recipe), statistics, section)


def labels_for(classes: int, statistics: Statistics, section: SampleSection) -> list[int] | None:
    """The same without a network at hand."""
    if not classes:
        return None
    counts = np.array(statistics["class_counts"], dtype=np.float64)
    rng = np.random.default_rng([section.seed, 0, LABEL_STREAM])
    labels: list[int] = rng.choice(len(counts), size=section.num_samples, p=counts / counts.sum()).tolist()
    return labels


def write_samples(
    painter: Painter,
    section: SampleSection,
    labels: list[int] | None,
    path: Path,
    batches: list[list[int]],
    *,
    what: str,
) -> None:
    """uint8 [number of pictures, size, size, 3] at `path`, written batch by batch."""
    size = painter.recipe.data.image_size_pixels
    with ArrayWriter(path, (size, size, 3), np.uint8) as writer, Meter(what, sum(map(len, batches))) as meter:
        for numbers in batches:
            x = painter.draw(
                section.sampler,
                seed=section.seed,
                numbers=numbers,
                labels=[labels[number] for number in numbers] if labels is not None else None,
                guidance_scale=section.guidance_scale,
                clip_x0=section.clip_x0,
                precision=section.precision,
            )
            for picture in painter.standardisation.decode(x):
                writer.append(picture)
            meter.advance(len(numbers))


def noising_figure(painter: Painter, section: SampleSection, labels: list[int] | None) -> NDArray[np.uint8]:
    """For each picture two rows of ten snapshots: noise becoming a picture, and that picture becoming noise.

    Backward: ancestral sampling. Forward: the finished picture, noised to the same timesteps with one noise.
    """
    schedule = build_schedule(painter.recipe.diffusion.schedule)
    num_steps = min(NOISING_STEPS, schedule.num_timesteps)
    every = max(1, num_steps // NOISING_SNAPSHOTS)
    snapshots: list[tuple[int, torch.Tensor]] = []
    seen = 0

    def on_step(timestep: int, x: torch.Tensor) -> None:
        nonlocal seen
        seen += 1
        if seen % every == 0 or timestep < 0:
            snapshots.append((timestep, x))

    numbers = list(range(min(NOISING_PICTURES, section.num_samples)))
    finished = painter.draw(
        DDPM(kind="ddpm", num_steps=num_steps),
        seed=section.seed,
        numbers=numbers,
        labels=[labels[number] for number in numbers] if labels is not None else None,
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
    return pages.grid(painter.standardisation.decode(torch.stack(rows)), columns=len(snapshots))


def _write_files(
    folder: Path, section: SampleSection, images: NDArray[np.uint8], labels: list[int] | None, statistics: Statistics
) -> None:
    (folder / Samples.files).mkdir()
    with (folder / Samples.manifest).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["number", "seed", "label", "class_name", "file"])
        for number in range(section.num_samples):
            name = f"{Samples.files}/{number:06d}.png" if number < section.num_files else ""
            if name:
                pages.save_png(folder / name, images[number])
            label = labels[number] if labels is not None else ""
            class_name = statistics["class_names"][label] if isinstance(label, int) else ""
            writer.writerow([number, section.seed, label, class_name, name])


def _write_page(folder: Path, section: SampleSection) -> None:
    sampler = section.sampler
    page = pages.render(
        "samples.html",
        title="Samples",
        lead=f"The first of {section.num_samples} pictures, {sampler.num_steps} steps of {sampler.kind}, "
        f"seed {section.seed}, guidance {section.guidance_scale:g}.",
        grid=pages.inline_file(folder / Samples.grid),
        noising=pages.inline_file(folder / Samples.noising),
    )
    (folder / Samples.page).write_text(page, encoding="utf-8")
