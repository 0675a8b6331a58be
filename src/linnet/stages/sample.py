"""sample: a model in, pictures out."""

import csv
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from linnet import pages
from linnet.artifacts import (
    Model,
    Samples,
    check_settings,
    input_hash,
    is_current,
    new_folder,
    read_json,
    write_provenance,
    write_text,
)
from linnet.data.arrays import ArrayWriter, open_array
from linnet.diffusion.objective import diffuse
from linnet.diffusion.schedule import build_schedule
from linnet.progress import Meter, say
from linnet.recipe import DDPM, Recipe, SampleSection
from linnet.stages.wiring import Painter, Statistics, chunks, load_painter, num_classes

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
    section = recipe.sample
    check_settings(model, made_by="train", section=recipe.training())
    inputs = {"model": Model.content_hash(model)}
    if is_current(out, input_hash("sample", [section], inputs)):
        say(f"{out}: already drawn from this model with these settings")
        return
    painter = load_painter(model, weights=section.weights, device=device)
    statistics = read_json(model / Model.statistics, made_by="train")
    labels = draw_labels(painter, statistics, section)
    with new_folder(out) as folder:
        write_samples(painter, section, labels, folder / Samples.images, batch_size=batch_size, what="sample: pictures")
        images = open_array(folder / Samples.images)
        _write_files(folder, section, np.asarray(images), labels, statistics)
        pages.save_png(folder / Samples.grid, pages.grid(np.asarray(images[:GRID_PICTURES], dtype=np.uint8)))
        pages.save_png(folder / Samples.noising, noising_figure(painter, section, labels))
        write_text(folder / Samples.recipe, section.model_dump_json(indent=2) + "\n")
        write_provenance(folder, "sample", [section], inputs)
    say(f"{out}: {section.num_samples} pictures, look at {out / Samples.grid}")


def draw_labels(painter: Painter, statistics: Statistics, section: SampleSection) -> list[int] | None:
    """One label for each sample, as often as in the training data; None for an unconditional model."""
    if not num_classes(painter.recipe):
        return None
    counts = np.array(statistics["class_counts"], dtype=np.float64)
    rng = np.random.default_rng([section.seed, 0, LABEL_STREAM])
    labels: list[int] = rng.choice(len(counts), size=section.num_samples, p=counts / counts.sum()).tolist()
    return labels


def write_samples(
    painter: Painter, section: SampleSection, labels: list[int] | None, path: Path, *, batch_size: int, what: str
) -> None:
    """uint8 [num_samples, size, size, 3] at `path`, written batch by batch."""
    size = painter.recipe.data.image_size_pixels
    with ArrayWriter(path, (size, size, 3), np.uint8) as writer, Meter(what, section.num_samples) as meter:
        for numbers in chunks(section.num_samples, batch_size):
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
