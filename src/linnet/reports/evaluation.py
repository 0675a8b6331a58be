"""The page about an evaluation: distances, samples beside real examples, near copies, restorations."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from linnet.artifacts import Dataset, Report, Samples
from linnet.data.arrays import open_array, random_rows
from linnet.metrics.results import Metrics
from linnet.recipe import Audio, DataSection, Recipe
from linnet.recipe.evaluate import LearnedFeatures
from linnet.reports import html
from linnet.reports.previews import players

NUM_SAMPLES, NUM_REAL, NUM_WAVEFORMS = 64, 36, 8
CONTEXT = ("untrained", "noise", "real")

Examples = NDArray[Any]  # uint8 images [N, H, W, 3] or int16 waveforms [N, samples]


def evaluation_page(recipe: Recipe, *, dataset: Path, samples: Path, report: Path) -> str:
    """The page of the folder `report`, which evaluate made of `dataset` and `samples`.

    Raises:
        ArtifactError: one of the folders is not whole.
    """
    metrics, data, split = Metrics.load(report), recipe.data, recipe.evaluate.reference_split
    is_audio = isinstance(data, Audio)
    generated = open_array(samples / Samples.examples)
    reference = open_array(dataset / Dataset.examples(data, split))
    real = random_rows(reference, NUM_WAVEFORMS if is_audio else NUM_REAL, recipe.evaluate.seed)
    return html.render(
        "evaluation.html",
        title="Evaluation",
        lead=f"{len(generated)} samples, {len(reference)} real {'windows of audio' if is_audio else 'images'} of the "
        f"{split} split.",
        kind="audio" if is_audio else "images",
        example="window" if is_audio else "image",
        reference_split=split,
        other_split="train" if split == "test" else "test",
        columns=("model", *CONTEXT),
        rows=_rows(metrics),
        caveat=caveat(recipe, metrics.scores),
        doubts=metrics.doubts(),
        samples=_preview(data, generated[: NUM_WAVEFORMS if is_audio else NUM_SAMPLES], columns=16),
        real=_preview(data, real, columns=6),
        untrained=_preview(data, open_array(report / Report.untrained), columns=6),
        memorization=metrics.memorization,
        neighbours=_neighbours(data, open_array(report / Report.neighbours)),
        restorations=_restorations(metrics),
    )


def caveat(recipe: Recipe, scores: Collection[str]) -> str:
    """What the distances named `scores` must not be taken for; "" where some have the published names."""
    published = ("FAD", "KAD") if isinstance(recipe.data, Audio) else ("FID", "KID")
    if any(name.lower() in scores for name in published):
        return ""
    is_learned = [name in get_args(LearnedFeatures) for name in recipe.evaluate.features]
    kinds = []
    if not all(is_learned):
        kinds.append("descriptors that need no downloaded weights")
    if any(is_learned):
        kinds.append("a network whose weights are not the published ones")
    return (
        f"These distances use {' and '.join(kinds)}. They are not {' or '.join(published)} and do not compare with "
        "them."
    )


def _rows(metrics: Metrics) -> list[dict[str, Any]]:
    rows = []
    for name, score in metrics.scores.items():
        interval, context = metrics.intervals[name], metrics.context[name]
        cells = [f"{score:.3g} ± {(interval.high - interval.low) / 2:.2g}"]
        cells += [f"{getattr(context, column):.3g}" for column in CONTEXT]
        rows.append({"name": name, "cells": cells, "protocol": metrics.protocols[name]})
    return rows


def _preview(data: DataSection, examples: Examples, *, columns: int) -> Any:
    """For `show` of player.html: waveforms as players, images as one sheet."""
    if isinstance(data, Audio):
        return players(data, examples, [""] * len(examples))
    return html.inline_grid(np.asarray(examples, dtype=np.uint8), columns=columns)


def _neighbours(data: DataSection, pairs: Examples) -> list[Any]:
    """[N, 2, ...] for `show` of player.html: waveforms pair by pair, images as one sheet."""
    if isinstance(data, Audio):
        return [players(data, pair, ["a sample", "its nearest in training"]) for pair in pairs]
    return [_preview(data, pairs.reshape(-1, *pairs.shape[2:]), columns=16)]


def _restorations(metrics: Metrics) -> list[dict[str, str]]:
    """How near to the clean examples the restoration, the baseline and the observation are."""
    return [
        {"degradation": degradation, "metric": metric, **{of: f"{value:.3g}" for of, value in vars(scores).items()}}
        for degradation, found in metrics.restoration.items()
        for metric, scores in found.items()
    ]
