"""The page that evaluate leaves: distances, restorations, samples beside real examples."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, assert_never

import numpy as np

from linnet.artifacts import Report
from linnet.inference.reference_sets import subset
from linnet.modalities.base import Examples
from linnet.recipe import Audio, Images, Recipe
from linnet.reports import html
from linnet.reports.previews import players

SHOWN = 64
SHOWN_SIDE = 64  # pixels of an image on the page, at least
SHOWN_SOUNDS = 8
NEIGHBOUR_PAIRS = 24
COLUMNS = ("model", "untrained", "noise", "real")
NEEDS_NO_WEIGHTS = ("thumbnail", "texture", "log_mel")


def write_report(
    folder: Path,
    recipe: Recipe,
    metrics: dict[str, Any],
    sets: dict[str, Examples],
    pairs: list[tuple[Any, Any]],
) -> None:
    """report.html in `folder`.

    Args:
        sets: model, untrained, noise, real and reference.
        pairs: samples, each with its nearest training example.
    """
    reference_split = recipe.evaluate.reference_split
    common = {
        "title": "Evaluation",
        "reference_split": reference_split,
        "other_split": "train" if reference_split == "test" else "test",
        "caveat": caveat(recipe, metrics["scores"]),
        "columns": COLUMNS,
        "rows": _rows(metrics),
        "memory": metrics["memory"],
        "restorations": _restorations(metrics),
    }
    counts = f"{len(sets['model'])} samples, {len(sets['reference'])} real"
    split = f"of the {reference_split} split"
    match recipe.data:
        case Images():
            page = html.render(
                "evaluation.html",
                **common,
                lead=f"{counts} images {split}.",
                samples=_sheet(sets["model"], SHOWN, 16),
                real=_sheet(subset(sets["reference"], 36, recipe.evaluate.seed), 36, 6),
                untrained=_sheet(sets["untrained"], 36, 6),
                neighbours=_sheet(np.stack([image for pair in pairs for image in pair]), 2 * len(pairs), 16),
            )
        case Audio():
            data, shown = recipe.data, SHOWN_SOUNDS
            real = subset(sets["reference"], shown, recipe.evaluate.seed)
            names = ["a sample", "its nearest in training"]
            page = html.render(
                "audio_evaluation.html",
                **common,
                lead=f"{counts} windows of audio {split}.",
                samples=_players(data, sets["model"][:shown]),
                real=_players(data, real),
                untrained=_players(data, sets["untrained"][: shown // 2]),
                neighbours=[
                    row
                    for pair in pairs[: shown // 2]
                    for row in players(data, np.stack([_cut(audio, pair[1]) for audio in pair]), names)
                ],
            )
        case _:
            assert_never(recipe.data)
    (folder / Report.page).write_text(page, encoding="utf-8")


def caveat(recipe: Recipe, scores: Collection[str]) -> str:
    """What the distances named `scores` must not be taken for; "" where some have the published names."""
    known = ("FAD", "KAD") if isinstance(recipe.data, Audio) else ("FID", "KID")
    if any(name.lower() in scores for name in known):
        return ""
    needs_no_weights = [name in NEEDS_NO_WEIGHTS for name in recipe.evaluate.features]
    made_of = []
    if any(needs_no_weights):
        made_of.append("descriptors that need no downloaded weights")
    if not all(needs_no_weights):
        made_of.append("a network whose weights are not the published ones")
    return (
        f"These distances use {' and '.join(made_of)}. They are not {' or '.join(known)} and do not compare with them."
    )


def _rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name, score in metrics["scores"].items():
        interval, context = metrics["intervals"][name], metrics["context"][name]
        half = (interval["high"] - interval["low"]) / 2
        cells = [f"{score:.3g} ± {half:.2g}"]
        cells += [f"{context[column]:.3g}" for column in COLUMNS[1:]]
        rows.append({"name": name, "cells": cells, "protocol": metrics["protocols"][name]})
    return rows


def _players(data: Audio, waveforms: Examples) -> list[dict[str, Any]]:
    return players(data, waveforms, [""] * len(waveforms))


def _cut(audio: Examples, example: Examples) -> Examples:
    """A sample, which may be longer than the training examples, as long as one of them."""
    return audio[: len(example)]


def _restorations(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """How near to the clean examples the restoration, the baseline and the observation are."""
    return [
        {"task": task, "metric": metric, **{of: f"{value:.3g}" for of, value in values.items()}}
        for task, found in metrics["restoration"].items()
        for metric, values in found.items()
    ]


def _sheet(images: Examples, count: int, columns: int) -> str:
    scale = max(1, SHOWN_SIDE // images.shape[1])
    return html.inline_png(html.grid(np.asarray(images[:count], dtype=np.uint8), columns=columns), scale=scale)
