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
from linnet.files import ArtifactError, new_folder, read_json, write_json, write_text
from linnet.hashes import code_hash, combined, folder_hash
from linnet.metrics.distances import (
    AUDIO_PROTOCOL,
    frechet_distance,
    jackknife,
    kernel_audio_distance_to,
    kernel_distance,
)
from linnet.metrics.neighbours import nearest
from linnet.progress import Meter, say
from linnet.recipe import DataSection, DPMSolver, Features, Recipe, SampleSection, Sound
from linnet.stages.codec import Codec, PictureCodec, Stored
from linnet.stages.feature_networks import (
    FeatureNetwork,
    distance_names,
    extract_features,
    load_feature_network,
    protocol,
)
from linnet.stages.report import NEIGHBOUR_PAIRS, write_report
from linnet.stages.restoration_scores import measure_restorations
from linnet.stages.sample import draw_conditions, num_frames, write_samples
from linnet.stages.wiring import Painter, chunks, load_painter
from linnet.tracking.run import NoTracker, RunTracker, Tracker

MEMORY_QUERIES = 256
UNTRAINED_STEPS = 20


@dataclass(frozen=True)
class Sets:
    """The four sets of examples that are compared with the reference.

    `untrained` and `noise` are as many examples as `model`, and as long. `real` are as many as `model` has pieces of
    their length, or the whole split where that is smaller: a Frechet distance depends on how many there are.
    """

    model: Stored
    untrained: Stored
    noise: Stored
    real: Stored  # of the other split: what a very good model would look like


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
    trained = check_settings(model, made_by="train", section=recipe.training())
    prepared = read_provenance(dataset, made_by="preprocess")
    inputs = {
        "dataset": Dataset.content_hash(dataset),
        "model": Model.content_hash(model),
        "samples": folder_hash(samples),
        "restored": folder_hash(restored),
    }
    if trained["inputs"]["dataset"] != inputs["dataset"]:
        raise ArtifactError(f"{model} was trained on other data than {dataset}; run `linnet train` again")
    drawn_by = check_settings(samples, made_by="sample", section=recipe.sample)
    if drawn_by["inputs"]["model"] != inputs["model"]:
        raise ArtifactError(f"{samples} was drawn from another model than {model}; run `linnet sample` again")
    restored_by = check_settings(restored, made_by="restore", section=recipe.restore)
    if restored_by["inputs"]["model"] != inputs["model"]:
        raise ArtifactError(f"{restored} was made by another model than {model}; run `linnet restore` again")
    network = load_feature_network(section.features, feature_weights, feature_sha256, device)
    if network is not None:
        inputs["feature_network"] = network.sha256
    made_by = [made["code_hash"] for made in (prepared, trained, drawn_by, restored_by)]
    if is_current(out, input_hash("evaluate", [section], inputs)):
        say(f"{out}: already evaluated with these settings")
        return
    reference_split = section.reference_split
    other_split = "train" if reference_split == "test" else "test"
    reference = _examples(recipe, dataset, reference_split)
    drawn = np.asarray(open_array(samples / Samples.examples))
    num_pieces = math.prod(_pieces(recipe.data, drawn, reference.shape[1]).shape[:2])
    painter = load_painter(model, weights="untrained", device=device)
    with new_folder(out) as folder, tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        sets = Sets(
            model=drawn,
            untrained=_untrained(recipe.sample, painter, model, Path(scratch), batch_size),
            noise=_noise(recipe, painter, len(drawn), batch_size),
            real=_subset(_examples(recipe, dataset, other_split), num_pieces, section.seed),
        )
        memory, pairs = _memory(
            painter.codec, drawn, _examples(recipe, dataset, "train"), _examples(recipe, dataset, "test")
        )
        metrics = _measure(recipe, sets, reference, device, network)
        metrics["restoration"] = measure_restorations(recipe, restored)
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
        write_report(folder, recipe, metrics, vars(sets) | {"reference": reference}, pairs)
        write_provenance(folder, "evaluate", [section], inputs)
        _log(folder, metrics, trained["input_hash"], recipe.name if track_run else None)
    for name, value in metrics["scores"].items():
        context = metrics["context"][name]
        others = ", ".join(f"{other} {context[other]:.4g}" for other in ("untrained", "noise", "real"))
        say(f"{name}: {value:.4g} ({others})")
    say(f"{out}: look at {out / Report.page}")


def _examples(recipe: Recipe, dataset: Path, split: str) -> Stored:
    return np.asarray(open_array(dataset / Dataset.examples(recipe.data, split)))


def _subset(examples: Stored, count: int, seed: int) -> Stored:
    rows = np.random.default_rng(seed).permutation(len(examples))[:count]
    return np.asarray(examples[np.sort(rows)])


def _noise(recipe: Recipe, painter: Painter, count: int, batch_size: int) -> Stored:
    """What the sampler starts from, as people would see or hear it: Gaussian noise with the data's mean and scale."""
    rng = np.random.default_rng(recipe.evaluate.seed)
    channels, height, width = recipe.data.shape
    width = num_frames(painter.recipe, recipe.sample) or width
    decoded = []
    for numbers in chunks(count, batch_size):
        noise = rng.standard_normal((len(numbers), channels, height, width), dtype=np.float32)
        decoded.append(painter.codec.decode(torch.from_numpy(noise).to(painter.device)))
    return np.concatenate(decoded)


def _untrained(section: SampleSection, painter: Painter, model: Path, scratch: Path, batch_size: int) -> Stored:
    """As many examples from the same network before training, by a fast sampler: it has nothing to get right."""
    statistics = read_json(model / Model.statistics, made_by="train")
    steps = min(UNTRAINED_STEPS, painter.recipe.diffusion.schedule.num_timesteps)
    section = section.model_copy(update={"sampler": DPMSolver(kind="dpm_solver_pp_2m", num_steps=steps)})
    path = scratch / Samples.examples
    conditions = draw_conditions(painter.recipe, statistics, section)
    batches = list(chunks(section.num_samples, batch_size))
    write_samples(painter, section, conditions, path, batches, what="evaluate: untrained examples")
    return np.array(open_array(path))


def _measure(
    recipe: Recipe, sets: Sets, reference: Stored, device: torch.device, network: FeatureNetwork | None
) -> dict[str, Any]:
    section = recipe.evaluate
    scores, intervals, context, protocols = {}, {}, {}, {}
    every = {"reference": reference} | vars(sets)
    pieces = {of: _pieces(recipe.data, examples, reference.shape[1]) for of, examples in every.items()}
    counts = {of: math.prod(cut.shape[:2]) for of, cut in pieces.items()}
    for features in section.features:
        compared = _features(features, recipe.data, pieces, device, network)
        real = compared.pop("reference")
        size = min(section.kernel_subset_size, len(reference), len(sets.model))
        of_subsets = f"; {section.kernel_subsets} subsets of {size}"
        details = ("", f"; {AUDIO_PROTOCOL}" if isinstance(recipe.data, Sound) else of_subsets)
        names = distance_names(features, network)
        for name, distance, detail in zip(names, _distances(recipe, real), details, strict=True):
            values = {of: distance(generated) for of, generated in compared.items()}
            scores[name] = values.pop("model")
            context[name] = values
            intervals[name] = vars(jackknife(distance, scores[name], compared["model"]))
            protocols[name] = (
                f"{protocol(features, recipe.data, network)}; {len(sets.model)} samples against {len(reference)} "
                f"{section.reference_split}{_in_pieces(recipe.data, reference)}" + detail
            )
    return {"scores": scores, "intervals": intervals, "context": context, "protocols": protocols, "counts": counts}


def _in_pieces(data: DataSection, reference: Stored) -> str:
    return f", in pieces of {reference.shape[1] / data.sample_rate_hz:.3g} s" if isinstance(data, Sound) else ""


def _pieces(data: DataSection, examples: Stored, length: int) -> Stored:
    """[N, P, ...]: waveforms in pieces as long as the reference's, for what is averaged over time depends on how long.

    Less than a piece at the end is left out. Pictures are one piece.
    """
    if not isinstance(data, Sound):
        return examples[:, None]
    count = examples.shape[1] // length
    return examples[:, : count * length].reshape(len(examples), count, length)


def _features(
    features: Features, data: DataSection, sets: dict[str, Stored], device: torch.device, network: FeatureNetwork | None
) -> dict[str, Tensor]:
    """float64 [N, R, d] of each set [N, P, ...]: R rows of all P pieces of an example."""
    vectors, every = {}, {of: pieces.reshape(-1, *pieces.shape[2:]) for of, pieces in sets.items()}
    with Meter(f"evaluate: {features} of examples", sum(map(len, every.values()))) as meter:
        for of, examples in every.items():
            batches = []
            for batch in extract_features(features, data, examples, device=device, network=network):
                batches.append(batch.cpu())
                meter.advance(len(batch))
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

    if isinstance(recipe.data, Sound):
        return frechet, kernel_audio_distance_to(real)

    def kernel(generated: Tensor) -> float:
        subsets, size = section.kernel_subsets, section.kernel_subset_size
        rows = real.flatten(0, 1), generated.flatten(0, 1)  # one of each picture
        return kernel_distance(*rows, subsets=subsets, subset_size=size, seed=section.seed)

    return frechet, kernel


def _memory(codec: Codec, drawn: Stored, train: Stored, test: Stored) -> tuple[dict[str, float], list[tuple[Any, Any]]]:
    """How near samples and held-out examples come to the training examples, and pairs to look at or listen to."""
    mirrored = isinstance(codec, PictureCodec)
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
