"""The page about samples: to look at or listen to, and how noise becomes one of them."""

import csv
import itertools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.artifacts import Samples
from linnet.data.arrays import open_array
from linnet.modalities.statistics import class_title
from linnet.recipe import Audio, DataSection, Recipe, SampleSection
from linnet.reports import html
from linnet.reports.previews import images_of, players

GRID_EXAMPLES = 64
PLAYERS = 24


def samples_page(recipe: Recipe, samples: Path) -> str:
    """The page of the folder that sample made. Raises ArtifactError if the folder is not whole."""
    examples = np.asarray(open_array(samples / Samples.examples))
    with (samples / Samples.manifest).open(newline="", encoding="utf-8") as file:
        prompts = [_title(row) for row in csv.DictReader(file)]
    lead = f"The first of {len(examples)} samples, {describe_sampling(recipe.sample)}."
    noising = np.asarray(open_array(samples / Samples.noising))
    return render_samples(recipe.data, examples, prompts, title="Samples", lead=lead, noising=noising)


def _title(row: dict[str, str]) -> str:
    return class_title(row["condition"], row["class_number"]) if row.get("class_number") else row["condition"]


def describe_sampling(section: SampleSection) -> str:
    """The settings of a sampler in a line."""
    sampler = section.sampler
    return f"{sampler.num_steps} steps of {sampler.kind}, seed {section.seed}, guidance {section.guidance_scale:g}"


def render_samples(
    data: DataSection,
    examples: NDArray[Any],
    prompts: list[str],
    *,
    title: str,
    lead: str,
    noising: NDArray[Any] | None = None,
) -> str:
    """A page of decoded examples.

    Args:
        noising: decoded snapshots [rows, columns, ...], where there are some.
    """
    common = {"title": title, "lead": lead, "noising": "" if noising is None else _noising_sheet(data, noising)}
    if isinstance(data, Audio):
        return html.render("audio.html", **common, players=players(data, examples[:PLAYERS], prompts[:PLAYERS]))
    shown = examples[:GRID_EXAMPLES]
    return html.render("samples.html", **common, grid=html.inline_grid(shown), runs=_runs(prompts[: len(shown)]))


def _runs(prompts: list[str]) -> list[tuple[str, str]]:
    """(which examples, their prompt) for examples in their order; none where no example has a prompt."""
    found, first = [], 0
    for prompt, run in itertools.groupby(prompts):
        last = first + len(list(run)) - 1
        found.append((str(first) if first == last else f"{first} to {last}", prompt or "no prompt"))
        first = last + 1
    return found if any(prompts) else []


def _noising_sheet(data: DataSection, noising: NDArray[Any]) -> str:
    frames = images_of(data, noising.reshape(-1, *noising.shape[2:]))
    return html.inline_grid(frames, columns=noising.shape[1])
