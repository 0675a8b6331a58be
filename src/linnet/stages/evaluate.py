"""evaluate: real pictures, a model and its samples in, distances and a report page out."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linnet import pages
from linnet.artifacts import (
    Dataset,
    Model,
    Report,
    Samples,
    check_settings,
    input_hash,
    is_current,
    read_provenance,
    write_provenance,
)
from linnet.data.arrays import open_array
from linnet.files import ArtifactError, new_folder, read_json, write_json, write_text
from linnet.hashes import code_hash, combined, folder_hash
from linnet.metrics.distances import frechet_distance, jackknife, kernel_distance
from linnet.metrics.features import PROTOCOL, Inception, extract, load_inception
from linnet.metrics.neighbours import nearest
from linnet.progress import Meter, say
from linnet.recipe import DPMSolver, EvaluateSection, Features, Recipe, SampleSection, metric_names
from linnet.stages.sample import draw_labels, write_samples
from linnet.stages.wiring import chunks, load_painter
from linnet.tracking.run import NoTracker, RunTracker, Tracker

FEATURE_BATCH = 64
SHOWN = 64
SHOWN_SIDE = 64  # pixels of a picture on the page, at least
NEIGHBOUR_PAIRS = 24
MEMORY_QUERIES = 256
UNTRAINED_STEPS = 20

Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class Sets:
    """The four sets of pictures that are compared with the reference, each as large as the samples."""

    model: Pictures
    untrained: Pictures
    noise: Pictures
    real: Pictures  # of the other split: what a perfect model would look like


def run(
    recipe: Recipe,
    *,
    dataset: Path,
    model: Path,
    samples: Path,
    out: Path,
    device: torch.device,
    inception_weights: Path | None,
    inception_sha256: str | None,
    batch_size: int,
    track_run: bool,
) -> None:
    """Compare `samples` with held-out pictures of `dataset` and write metrics.json and a report page into `out`.

    For orientation the same distances are computed for pure noise, for the untrained network and for real pictures.

    Raises:
        ArtifactError: an input is missing, or they do not belong together.
        WeightsError: FID and KID are asked for, and Inception's weights cannot be had.
    """
    section = recipe.evaluate
    trained = check_settings(model, made_by="train", section=recipe.training())
    prepared = read_provenance(dataset, made_by="preprocess")
    inputs = {
        "dataset": Dataset.content_hash(dataset),
        "model": Model.content_hash(model),
        "samples": folder_hash(samples),
    }
    if trained["inputs"]["dataset"] != inputs["dataset"]:
        raise ArtifactError(f"{model} was trained on other data than {dataset}; run `linnet train` again")
    drawn_by = check_settings(samples, made_by="sample", section=recipe.sample)
    if drawn_by["inputs"]["model"] != inputs["model"]:
        raise ArtifactError(f"{samples} was drawn from another model than {model}; run `linnet sample` again")
    inception = None
    if "inception" in section.features:
        inception = load_inception(inception_weights, inception_sha256, device)
        inputs["inception"] = inception.sha256
    made_by = [made["code_hash"] for made in (prepared, trained, drawn_by)]
    if is_current(out, input_hash("evaluate", [section], inputs)):
        say(f"{out}: already evaluated with these settings")
        return
    reference_split = section.reference_split
    other_split = "train" if reference_split == "test" else "test"
    reference = _images(dataset, reference_split)
    drawn = np.asarray(open_array(samples / Samples.images), dtype=np.uint8)
    with new_folder(out) as folder, tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        sets = Sets(
            model=drawn,
            untrained=_untrained(recipe.sample, model, Path(scratch), device, batch_size),
            noise=_noise(dataset, drawn.shape, section.seed),
            real=_subset(_images(dataset, other_split), len(drawn), section.seed),
        )
        memory, pairs = _memory(drawn, _images(dataset, "train"), _images(dataset, "test"))
        metrics = _measure(section, sets, reference, device, inception)
        metrics["memory"] = memory
        metrics["reference"] = {
            "split": reference_split,
            "count": len(reference),
            "data_hash": inputs["dataset"],
            "raw_hash": prepared["inputs"]["raw"],
            "code_hash": combined([*made_by, code_hash("linnet.stages.evaluate")]),
        }
        write_json(folder / Report.metrics, metrics)
        write_text(folder / Report.scores, _scores_table(metrics))
        _write_page(folder, section, metrics, sets, reference, pairs)
        write_provenance(folder, "evaluate", [section], inputs)
        _log(folder, metrics, trained["input_hash"], recipe.name if track_run else None)
    for name, value in metrics["scores"].items():
        context = metrics["context"][name]
        others = ", ".join(f"{other} {context[other]:.4g}" for other in ("untrained", "noise", "real"))
        say(f"{name}: {value:.4g} ({others})")
    say(f"{out}: look at {out / Report.page}")


def _images(dataset: Path, split: str) -> Pictures:
    return np.asarray(open_array(dataset / Dataset.images(split)), dtype=np.uint8)


def _subset(images: Pictures, count: int, seed: int) -> Pictures:
    rows = np.random.default_rng(seed).permutation(len(images))[:count]
    return np.asarray(images[np.sort(rows)], dtype=np.uint8)


def _noise(dataset: Path, shape: tuple[int, ...], seed: int) -> Pictures:
    """What the sampler starts from, as pictures: Gaussian noise with the data's mean and standard deviation."""
    statistics = read_json(dataset / Dataset.statistics, made_by="preprocess")
    noise = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    pixels = (noise * np.float32(statistics["std"]) + np.float32(statistics["mean"])) * 255
    return np.asarray(np.clip(np.rint(pixels), 0, 255), dtype=np.uint8)


def _untrained(section: SampleSection, model: Path, scratch: Path, device: torch.device, batch_size: int) -> Pictures:
    """As many pictures from the same network before training, by a fast sampler: it has nothing to get right."""
    painter = load_painter(model, weights="untrained", device=device)
    statistics = read_json(model / Model.statistics, made_by="train")
    steps = min(UNTRAINED_STEPS, painter.recipe.diffusion.schedule.num_timesteps)
    section = section.model_copy(update={"sampler": DPMSolver(kind="dpm_solver_pp_2m", num_steps=steps)})
    path = scratch / Samples.images
    labels = draw_labels(painter, statistics, section)
    batches = list(chunks(section.num_samples, batch_size))
    write_samples(painter, section, labels, path, batches, what="evaluate: untrained pictures")
    return np.array(open_array(path), dtype=np.uint8)


def _measure(
    section: EvaluateSection,
    sets: Sets,
    reference: Pictures,
    device: torch.device,
    inception: Inception | None,
) -> dict[str, Any]:
    scores, intervals, context, protocols = {}, {}, {}, {}
    for features in section.features:
        real, *others = _features(features, [reference, *vars(sets).values()], device, inception)
        compared = dict(zip(vars(sets), others, strict=True))
        size = min(section.kernel_subset_size, len(reference), len(sets.model))
        details = ("", f"; {section.kernel_subsets} subsets of {size}")
        names = distance_names(features, inception)
        for name, distance, detail in zip(names, _distances(section, real), details, strict=True):
            values = {of: distance(generated) for of, generated in compared.items()}
            scores[name] = values.pop("model")
            context[name] = values
            intervals[name] = vars(jackknife(distance, scores[name], compared["model"]))
            protocols[name] = (
                f"{PROTOCOL[features]}; {len(sets.model)} samples against {len(reference)} {section.reference_split}"
                + detail
            )
    return {"scores": scores, "intervals": intervals, "context": context, "protocols": protocols}


def distance_names(features: Features, inception: Inception | None) -> tuple[str, str]:
    """With other weights than the published ones the distances must not be called FID and KID."""
    if features == "inception" and inception is not None and not inception.is_published:
        return f"frechet_inception_{inception.sha256[:8]}", f"kernel_inception_{inception.sha256[:8]}"
    return metric_names(features)


def _features(
    features: Features, sets: list[Pictures], device: torch.device, inception: Inception | None
) -> list[Tensor]:
    """float64 [N, d] for each set."""
    vectors = []
    with Meter(f"evaluate: {features} of pictures", sum(map(len, sets))) as meter:
        for pictures in sets:
            batches = []
            for batch in extract(features, pictures, batch_size=FEATURE_BATCH, device=device, inception=inception):
                batches.append(batch.cpu())
                meter.advance(len(batch))
            vectors.append(torch.cat(batches))
    return vectors


def _scores_table(metrics: dict[str, Any]) -> str:
    lines = ["distance,pictures,value,relative_to_noise"]
    for name, score in metrics["scores"].items():
        values = {"model": score} | metrics["context"][name]
        lines += [f"{name},{of},{value!r},{value / values['noise']!r}" for of, value in values.items()]
    return "\n".join(lines) + "\n"


def _distances(section: EvaluateSection, real: Tensor) -> tuple[Callable[[Tensor], float], Callable[[Tensor], float]]:
    def kernel(generated: Tensor) -> float:
        subsets, size = section.kernel_subsets, section.kernel_subset_size
        return kernel_distance(real, generated, subsets=subsets, subset_size=size, seed=section.seed)

    return lambda generated: frechet_distance(real, generated), kernel


def _memory(drawn: Pictures, train: Pictures, test: Pictures) -> tuple[dict[str, float], list[Pictures]]:
    """How near samples and held-out pictures come to the training pictures, and pairs to look at."""
    distance, rows = nearest(drawn[:MEMORY_QUERIES], train)
    real_distance, _ = nearest(test[:MEMORY_QUERIES], train)
    closest = np.argsort(distance, kind="stable")[:NEIGHBOUR_PAIRS]
    pairs = [picture for place in closest for picture in (drawn[place], train[rows[place]])]
    medians = {"sample_median": float(np.median(distance)), "real_median": float(np.median(real_distance))}
    return medians, pairs


def _write_page(
    folder: Path,
    section: EvaluateSection,
    metrics: dict[str, Any],
    sets: Sets,
    reference: Pictures,
    pairs: list[Pictures],
) -> None:
    rows = []
    for name, score in metrics["scores"].items():
        interval, context = metrics["intervals"][name], metrics["context"][name]
        half = (interval["high"] - interval["low"]) / 2
        cells = [f"{score:.3g} ± {half:.2g}"]
        cells += [f"{context[column]:.3g}" for column in ("untrained", "noise", "real")]
        rows.append({"name": name, "cells": cells, "protocol": metrics["protocols"][name]})

    def sheet(pictures: Pictures, count: int, columns: int) -> str:
        scale = max(1, SHOWN_SIDE // pictures.shape[1])
        return pages.inline_png(pages.grid(np.asarray(pictures[:count]), columns=columns), scale=scale)

    page = pages.render(
        "evaluation.html",
        title="Evaluation",
        lead=f"{len(sets.model)} samples, {len(reference)} real pictures of the {section.reference_split} split.",
        columns=["model", "untrained", "noise", "real"],
        rows=rows,
        has_inception="fid" in metrics["scores"],
        samples=sheet(sets.model, SHOWN, 16),
        real=sheet(_subset(reference, 36, section.seed), 36, 6),
        untrained=sheet(sets.untrained, 36, 6),
        memory=metrics["memory"],
        neighbours=sheet(np.stack(pairs), len(pairs), 16),
    )
    (folder / Report.page).write_text(page, encoding="utf-8")


def _log(folder: Path, metrics: dict[str, Any], model_key: str, run_name: str | None) -> None:
    """Tell the model's run, before the report appears: a run that was killed in between tells it again."""
    tracker: Tracker = NoTracker()
    if run_name is not None:
        tracker = RunTracker(model_key, run_name=run_name, params={}, tags={}, system_metrics=False)
    with tracker:
        tracker.metrics(metrics["scores"], step=0)
        for name in (Report.metrics, Report.page):
            tracker.file(folder / name, "report")
