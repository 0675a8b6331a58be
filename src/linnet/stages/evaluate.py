"""evaluate: real examples, a model, its samples and restorations in, distances and scores out."""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from linnet.artifacts import (
    Dataset,
    Model,
    Report,
    Restored,
    check_settings,
    input_hash,
    is_current,
    read_provenance,
    write_provenance,
)
from linnet.data.arrays import open_array, write_array
from linnet.files import ArtifactError, new_folder, write_text
from linnet.hashes import code_hash, combined, folder_hash
from linnet.inference.diffusion_model import DiffusionModel
from linnet.inference.memory import explains_examples_memory
from linnet.inference.reference_sets import ReferenceSets, read_split
from linnet.metrics.extractors.base import FeatureExtractor
from linnet.metrics.extractors.build import build_extractor, find_weights
from linnet.metrics.measurement import Measurement, measure
from linnet.metrics.memorization import memorization
from linnet.metrics.restoration import restoration_scores
from linnet.metrics.results import Comparison, Memorization, Metrics, Reference
from linnet.modalities.base import Codec, Examples
from linnet.modalities.image_codec import ImageCodec
from linnet.patience import patience_seconds
from linnet.progress import log
from linnet.recipe import Audio, DataSection, Recipe
from linnet.stages.table import EVALUATE
from linnet.tracking.run import NoTracker, RunTracker, Tracker

MEMORIZATION_QUERIES = 256
NUM_IMAGES, NUM_IMAGE_PAIRS = 36, 24  # that people see
NUM_WAVEFORMS = 4  # that people hear, also as pairs


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
    """Compare `samples` with held-out examples of `dataset` and write metrics.json and examples for people into `out`.

    For orientation the same distances are computed for pure noise, for the untrained network and for real examples.

    Args:
        restored: made by restore; its scores stand beside the distances.
        feature_weights: the file of weights that the recipe's features need, where they need one.
        feature_sha256: what that file must hash to; None accepts the published file only.

    Raises:
        ArtifactError: an input is missing, or they do not belong together.
        WeightsError: the recipe asks for features whose weights cannot be had.
    """
    section = recipe.evaluate
    inputs = _check_inputs(recipe, dataset=dataset, model=model, samples=samples, restored=restored)
    weights = find_weights(section.features, feature_weights, feature_sha256)
    hashes = inputs.hashes if weights is None else inputs.hashes | {"feature_network": weights.sha256}
    if is_current(out, input_hash(EVALUATE, [section], hashes)):
        log(f"{out}: already evaluated with these settings")
        return
    extractors = [build_extractor(name, recipe.data, weights, device) for name in section.features]
    diffusion_model = DiffusionModel.load(model, weights="untrained", device=device)
    with new_folder(out) as folder, tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        with explains_examples_memory(diffusion_model, recipe.sample.precision, batch_size):
            sets = ReferenceSets.build(
                recipe, diffusion_model, dataset=dataset, samples=samples, scratch=Path(scratch), batch_size=batch_size
            )
        train, test = (read_split(recipe, dataset, split) for split in ("train", "test"))
        copies, pairs = find_copies(diffusion_model.codec, sets.model, train, test)
        measured = measure_samples(recipe, extractors, sets)
        metrics = Metrics(
            scores={one.name: one.score for one in measured},
            intervals={one.name: one.interval for one in measured},
            context={one.name: one.context for one in measured},
            protocols={one.name: one.protocol for one in measured},
            counts={name: math.prod(segments.shape[:2]) for name, segments in sets.segments(recipe.data).items()},
            restoration=measure_restorations(recipe, restored),
            memorization=copies,
            reference=Reference(
                split=section.reference_split,
                count=len(sets.reference),
                data_hash=Dataset.reference_hash(dataset, recipe.data, section.reference_split),
                raw_hash=inputs.raw_hash,
                code_hash=combined([*inputs.code_hashes, code_hash(EVALUATE)]),
            ),
        )
        metrics.save(folder)
        write_text(folder / Report.scores, _scores_table(metrics))
        write_array(folder / Report.untrained, sets.untrained[: _num_examples(recipe.data)])
        write_array(folder / Report.neighbours, pairs)
        write_provenance(folder, EVALUATE, [section], hashes)
        _track(folder, metrics, inputs.model_key, recipe.name if track_run else None)
    _log_scores(metrics)


def measure_samples(recipe: Recipe, extractors: Sequence[FeatureExtractor], sets: ReferenceSets) -> list[Measurement]:
    """The distances of `sets` in the features of each extractor."""
    comparison = f"{len(sets.model)} samples against {len(sets.reference)} {recipe.evaluate.reference_split}"
    if isinstance(recipe.data, Audio):
        comparison += f", in segments of {sets.reference.shape[1] / recipe.data.sample_rate_hz:.3g} s"
    segments = sets.segments(recipe.data)
    return [
        measurement
        for extractor in extractors
        for measurement in measure(extractor, recipe.evaluate, segments, comparison=comparison)
    ]


def measure_restorations(recipe: Recipe, restored: Path) -> dict[str, dict[str, Comparison]]:
    """Mean scores of each degradation of `recipe.restore`, by its name and the score's."""
    scores = {}
    for degradation in recipe.restore.degradations:
        files = {"restored": Restored.restored, "baseline": Restored.baseline, "observed": Restored.observed}
        clean, mask = (_tensor(restored / degradation.name / name) for name in (Restored.clean, Restored.mask))
        found = {
            name: restoration_scores(recipe.data, _tensor(restored / degradation.name / file), clean, mask)
            for name, file in files.items()
        }
        scores[degradation.name] = {
            metric: Comparison(**{name: values[metric] for name, values in found.items()})
            for metric in found["restored"]
        }
    return scores


def find_copies(codec: Codec, samples: Examples, train: Examples, test: Examples) -> tuple[Memorization, Examples]:
    """How near samples and held-out examples come to the training examples, and pairs [N, 2, ...] for people."""
    as_long = samples[:MEMORIZATION_QUERIES, : train.shape[1]]  # a sample may be longer than the training examples
    is_image = isinstance(codec, ImageCodec)
    medians, rows = memorization(
        codec.thumbnails(as_long),
        codec.thumbnails(test[:MEMORIZATION_QUERIES]),
        codec.thumbnails(train),
        mirrored=is_image,
        num_pairs=NUM_IMAGE_PAIRS if is_image else NUM_WAVEFORMS,
    )
    return medians, np.stack([[as_long[sample], train[nearest]] for sample, nearest in rows])


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
    preprocessed = read_provenance(dataset, made_by="preprocess")
    hashes = {
        "dataset": Dataset.content_hash(dataset),
        "model": Model.content_hash(model),
        "samples": folder_hash(samples),
        "restored": folder_hash(restored),
    }
    if trained["inputs"]["dataset"] != hashes["dataset"]:
        raise ArtifactError(f"{model} was trained on other data than {dataset}; run `linnet train` again")
    sampled = check_settings(samples, made_by="sample", section=recipe.sample)
    if sampled["inputs"]["model"] != hashes["model"]:
        raise ArtifactError(f"{samples} were made by another model than {model}; run `linnet sample` again")
    restorations = check_settings(restored, made_by="restore", section=recipe.restore)
    if restorations["inputs"]["model"] != hashes["model"]:
        raise ArtifactError(f"{restored} was made by another model than {model}; run `linnet restore` again")
    code_hashes = [made["code_hash"] for made in (preprocessed, trained, sampled, restorations)]
    return _Inputs(hashes, code_hashes, preprocessed["inputs"]["raw"], trained["input_hash"])


def _tensor(path: Path) -> torch.Tensor:
    return torch.tensor(open_array(path))


def _num_examples(data: DataSection) -> int:
    return NUM_WAVEFORMS if isinstance(data, Audio) else NUM_IMAGES


def _scores_table(metrics: Metrics) -> str:
    lines = ["distance,examples,value,relative_to_noise"]
    for name, score in metrics.scores.items():
        values = {"model": score} | vars(metrics.context[name])
        lines += [f"{name},{of},{value!r},{value / values['noise']!r}" for of, value in values.items()]
    return "\n".join(lines) + "\n"


def _log_scores(metrics: Metrics) -> None:
    for name, value in metrics.scores.items():
        context = ", ".join(f"{of} {distance:.4g}" for of, distance in vars(metrics.context[name]).items())
        log(f"{name}: {value:.4g} ({context})")
    for doubt in metrics.doubts():
        log(doubt)


def _track(folder: Path, metrics: Metrics, model_key: str, run_name: str | None) -> None:
    """Tell the model's run, before the report appears: a run that was killed in between tells it again.

    In a pod no report appears whose scores MLflow does not have; at a desk somebody reads that it has not.
    """
    tracker: Tracker = NoTracker()
    if run_name is not None:
        must_arrive = patience_seconds() > 0
        tracker = RunTracker(
            model_key, run_name=run_name, params={}, tags={}, system_metrics=False, must_arrive=must_arrive
        )
    restoration = {
        f"{metric}_{degradation}": scores.restored
        for degradation, found in metrics.restoration.items()
        for metric, scores in found.items()
    }
    with tracker:
        tracker.log_metrics(metrics.scores | restoration, step=0)
        tracker.log_artifact(folder / Report.metrics, "report")
