"""evaluate: real examples, a model, its samples and restorations in, distances and a report page out."""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

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
from linnet.files import ArtifactError, new_folder, write_json, write_text
from linnet.hashes import code_hash, combined, folder_hash
from linnet.inference.diffusion_model import DiffusionModel
from linnet.inference.reference_sets import Sets, examples_of, pure_noise, subset, untrained
from linnet.inference.restoration_scores import measure_restorations
from linnet.metrics.distances import (
    AUDIO_PROTOCOL,
    frechet_distance,
    jackknife,
    kernel_audio_distance_to,
    kernel_distance,
)
from linnet.metrics.extraction import FeatureNetwork, distance_names, extract_features, load_feature_network, protocol
from linnet.metrics.memorization import nearest
from linnet.modalities.base import Codec, Examples
from linnet.modalities.image_codec import ImageCodec
from linnet.progress import ProgressBar, log
from linnet.recipe import Audio, DataSection, Features, Recipe
from linnet.reports.evaluation import NEIGHBOUR_PAIRS, write_report
from linnet.tracking.run import NoTracker, RunTracker, Tracker

MEMORY_QUERIES = 256


def run(
    recipe: Recipe,
    *,
    dataset: Path,
    model: Path,
    samples: Path,
    restored: Path,
    out: Path,
    device: torch.device,
    feature_weights: Path | None,
    feature_sha256: str | None,
    batch_size: int,
    track_run: bool,
) -> None:
    """Compare `samples` with held-out examples of `dataset` and write metrics.json and a report page into `out`.

    For orientation the same distances are computed for pure noise, for the untrained network and for real examples.

    Args:
        restored: what restore made; its scores stand beside the distances.
        feature_weights: the file of the recipe's feature network, where it has one.
        feature_sha256: what that file must hash to; None accepts the published file only.

    Raises:
        ArtifactError: an input is missing, or they do not belong together.
        WeightsError: the recipe asks for a feature network, and its weights cannot be had.
    """
    section = recipe.evaluate
    given = _check_inputs(recipe, dataset=dataset, model=model, samples=samples, restored=restored)
    network = load_feature_network(section.features, feature_weights, feature_sha256, device)
    hashes = given.hashes if network is None else given.hashes | {"feature_network": network.sha256}
    if is_current(out, input_hash("evaluate", [section], hashes)):
        log(f"{out}: already evaluated with these settings")
        return
    reference = examples_of(recipe, dataset, section.reference_split)
    drawn = np.asarray(open_array(samples / Samples.examples))
    diffusion_model = DiffusionModel.load(model, weights="untrained", device=device)
    with new_folder(out) as folder, tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        num_segments = math.prod(_segments(recipe.data, drawn, reference.shape[1]).shape[:2])
        sets = Sets(
            model=drawn,
            untrained=untrained(recipe.sample, diffusion_model, Path(scratch), batch_size),
            noise=pure_noise(recipe, diffusion_model, len(drawn), batch_size),
            real=subset(examples_of(recipe, dataset, _other(section.reference_split)), num_segments, section.seed),
        )
        train, test = (examples_of(recipe, dataset, split) for split in ("train", "test"))
        memory, pairs = _memory(diffusion_model.codec, drawn, train, test)
        metrics = _measure(recipe, sets, reference, device, network)
        metrics["restoration"] = measure_restorations(recipe, restored)
        metrics["memory"] = memory
        metrics["reference"] = {
            "split": section.reference_split,
            "count": len(reference),
            "data_hash": given.hashes["dataset"],
            "raw_hash": given.raw_hash,
            "code_hash": combined([*given.code_hashes, code_hash("linnet.stages.evaluate")]),
        }
        write_json(folder / Report.metrics, metrics)
        write_text(folder / Report.scores, _scores_table(metrics))
        write_report(folder, recipe, metrics, vars(sets) | {"reference": reference}, pairs)
        write_provenance(folder, "evaluate", [section], hashes)
        _log(folder, metrics, given.model_key, recipe.name if track_run else None)
    _say_scores(metrics)
    log(f"{out}: look at {out / Report.page}")


@dataclass(frozen=True)
class _Inputs:
    """Folders that belong together."""

    hashes: dict[str, str]  # of their content
    code_hashes: list[str]  # of what made them
    raw_hash: str
    model_key: str  # input hash of the training


def _check_inputs(recipe: Recipe, *, dataset: Path, model: Path, samples: Path, restored: Path) -> _Inputs:
    """Raises ArtifactError where one is missing, or was made from another than the one given here."""
    trained = check_settings(model, made_by="train", section=recipe.training())
    prepared = read_provenance(dataset, made_by="preprocess")
    hashes = {
        "dataset": Dataset.content_hash(dataset),
        "model": Model.content_hash(model),
        "samples": folder_hash(samples),
        "restored": folder_hash(restored),
    }
    if trained["inputs"]["dataset"] != hashes["dataset"]:
        raise ArtifactError(f"{model} was trained on other data than {dataset}; run `linnet train` again")
    drawn_by = check_settings(samples, made_by="sample", section=recipe.sample)
    if drawn_by["inputs"]["model"] != hashes["model"]:
        raise ArtifactError(f"{samples} was drawn from another model than {model}; run `linnet sample` again")
    restored_by = check_settings(restored, made_by="restore", section=recipe.restore)
    if restored_by["inputs"]["model"] != hashes["model"]:
        raise ArtifactError(f"{restored} was made by another model than {model}; run `linnet restore` again")
    code_hashes = [made["code_hash"] for made in (prepared, trained, drawn_by, restored_by)]
    return _Inputs(hashes, code_hashes, prepared["inputs"]["raw"], trained["input_hash"])


def _say_scores(metrics: dict[str, Any]) -> None:
    for name, value in metrics["scores"].items():
        context = metrics["context"][name]
        others = ", ".join(f"{other} {context[other]:.4g}" for other in ("untrained", "noise", "real"))
        log(f"{name}: {value:.4g} ({others})")


def _other(split: str) -> str:
    return "train" if split == "test" else "test"


def _measure(
    recipe: Recipe, sets: Sets, reference: Examples, device: torch.device, network: FeatureNetwork | None
) -> dict[str, Any]:
    section = recipe.evaluate
    scores, intervals, context, protocols = {}, {}, {}, {}
    every = {"reference": reference} | vars(sets)
    segments = {of: _segments(recipe.data, examples, reference.shape[1]) for of, examples in every.items()}
    counts = {of: math.prod(cut.shape[:2]) for of, cut in segments.items()}
    for features in section.features:
        compared = _features(features, recipe.data, segments, device, network)
        real = compared.pop("reference")
        size = min(section.kernel_subset_size, len(reference), len(sets.model))
        of_subsets = f"; {section.kernel_subsets} subsets of {size}"
        details = ("", f"; {AUDIO_PROTOCOL}" if isinstance(recipe.data, Audio) else of_subsets)
        names = distance_names(features, network)
        for name, distance, detail in zip(names, _distances(recipe, real), details, strict=True):
            values = {of: distance(generated) for of, generated in compared.items()}
            scores[name] = values.pop("model")
            context[name] = values
            intervals[name] = vars(jackknife(distance, scores[name], compared["model"]))
            protocols[name] = (
                f"{protocol(features, recipe.data, network)}; {len(sets.model)} samples against {len(reference)} "
                f"{section.reference_split}{_in_segments(recipe.data, reference)}" + detail
            )
    return {"scores": scores, "intervals": intervals, "context": context, "protocols": protocols, "counts": counts}


def _in_segments(data: DataSection, reference: Examples) -> str:
    return f", in segments of {reference.shape[1] / data.sample_rate_hz:.3g} s" if isinstance(data, Audio) else ""


def _segments(data: DataSection, examples: Examples, length: int) -> Examples:
    """[N, P, ...]: waveforms in segments as long as the reference's, for what is averaged over time depends on how long.

    Less than a segment at the end is left out. Images are one segment.
    """
    if not isinstance(data, Audio):
        return examples[:, None]
    count = examples.shape[1] // length
    return examples[:, : count * length].reshape(len(examples), count, length)


def _features(
    features: Features,
    data: DataSection,
    sets: dict[str, Examples],
    device: torch.device,
    network: FeatureNetwork | None,
) -> dict[str, Tensor]:
    """float64 [N, R, d] of each set [N, P, ...]: R rows of all P segments of an example."""
    vectors, every = {}, {of: segments.reshape(-1, *segments.shape[2:]) for of, segments in sets.items()}
    with ProgressBar(f"evaluate: {features} of examples", sum(map(len, every.values()))) as bar:
        for of, examples in every.items():
            batches = []
            for batch in extract_features(features, data, examples, device=device, network=network):
                batches.append(batch.cpu())
                bar.advance(len(batch))
            vectors[of] = torch.cat(batches).reshape(len(sets[of]), -1, batches[0].shape[-1])
    return vectors


def _scores_table(metrics: dict[str, Any]) -> str:
    lines = ["distance,examples,value,relative_to_noise"]
    for name, score in metrics["scores"].items():
        values = {"model": score} | metrics["context"][name]
        lines += [f"{name},{of},{value!r},{value / values['noise']!r}" for of, value in values.items()]
    return "\n".join(lines) + "\n"


def _distances(recipe: Recipe, real: Tensor) -> tuple[Callable[[Tensor], float], Callable[[Tensor], float]]:
    section = recipe.evaluate

    def frechet(generated: Tensor) -> float:
        return frechet_distance(real, generated)

    if isinstance(recipe.data, Audio):
        return frechet, kernel_audio_distance_to(real)

    def kernel(generated: Tensor) -> float:
        subsets, size = section.kernel_subsets, section.kernel_subset_size
        rows = real.flatten(0, 1), generated.flatten(0, 1)  # one of each image
        return kernel_distance(*rows, subsets=subsets, subset_size=size, seed=section.seed)

    return frechet, kernel


def _memory(
    codec: Codec, drawn: Examples, train: Examples, test: Examples
) -> tuple[dict[str, float], list[tuple[Any, Any]]]:
    """How near samples and held-out examples come to the training examples, and pairs to look at or listen to."""
    mirrored = isinstance(codec, ImageCodec)
    known = codec.thumbnails(train)
    as_long = drawn[:MEMORY_QUERIES, : train.shape[1]]  # a sample may be longer than the training examples
    distance, rows = nearest(codec.thumbnails(as_long), known, mirrored=mirrored)
    real_distance, _ = nearest(codec.thumbnails(test[:MEMORY_QUERIES]), known, mirrored=mirrored)
    closest = np.argsort(distance, kind="stable")[:NEIGHBOUR_PAIRS]
    pairs = [(drawn[place], train[rows[place]]) for place in closest]
    medians = {"sample_median": float(np.median(distance)), "real_median": float(np.median(real_distance))}
    return medians, pairs


def _log(folder: Path, metrics: dict[str, Any], model_key: str, run_name: str | None) -> None:
    """Tell the model's run, before the report appears: a run that was killed in between tells it again."""
    tracker: Tracker = NoTracker()
    if run_name is not None:
        tracker = RunTracker(model_key, run_name=run_name, params={}, tags={}, system_metrics=False)
    with tracker:
        restoration = {
            f"{metric}_{task}": values["restored"]
            for task, found in metrics["restoration"].items()
            for metric, values in found.items()
        }
        tracker.metrics(metrics["scores"] | restoration, step=0)
        for name in (Report.metrics, Report.page):
            tracker.file(folder / name, "report")
