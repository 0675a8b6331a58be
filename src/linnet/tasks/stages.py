"""The stages as tasks of a pipeline engine: texts and paths in, facts for the engine's records out.

Each task is one stage call. It checks what it was handed against the hash that the task before it gave, so that a
cached or half-copied artifact is never built upon, and it fails with one sentence. Where it runs comes from the
environment: LINNET_DEVICE, LINNET_WORK (a folder or an s3:// address), LINNET_PIPELINE_RUN, LINNET_TRAINJOB or
LINNET_POD_GPUS, and what MLflow and boto3 read themselves.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linnet.artifacts import Dataset, Model, Raw, Registration, git_commit, read_provenance
from linnet.engine import in_pod, pipeline_run
from linnet.errors import redact_credentials
from linnet.files import ArtifactError, read_json, write_text
from linnet.hashes import folder_hash
from linnet.modalities.statistics import read_statistics
from linnet.progress import log
from linnet.recipe.texts import parse_data, parse_training
from linnet.tasks.boundary import (
    RESTORE_BATCH,
    SAMPLE_BATCH,
    Facts,
    device,
    made_by,
    parse,
    task,
    verify,
)
from linnet.tasks.environment import feature_weights, pod_gpus, uses_trainjob, work_location
from linnet.tasks.kubeflow import was_ended_by_somebody
from linnet.tasks.notes import forget_all, note_result, read_notes
from linnet.tasks.outcome import outcome_page
from linnet.tasks.packing import pack, unpacked
from linnet.tracking.states import CANCELED, FAILED, SUCCEEDED, end_told


@task
def ingest(data: str, *, source: str, fingerprint: str, out: str) -> Facts:
    """Bring the raw data into the archive `out`; an empty `source` means the built-in set.

    Raises:
        ArtifactError: the source is no longer what `look` saw, so an engine's cache would lie.
    """
    from linnet.stages import ingest as stage

    scratch = Path(out).with_name(f".{Path(out).name}.work")
    try:
        raw = scratch / "raw"
        stage.run(parse_data(data), source=source or None, out=raw, work=scratch / "downloads")
        if stage.fingerprint_of(raw) != fingerprint:
            place = redact_credentials(source) or "the built-in set"
            raise ArtifactError(f"{place} has changed since this run began; start the run again")
        pack(raw, Path(out))
        return {"content_hash": Raw.content_hash(raw), **_origin(raw)}
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@task
def preprocess(data: str, *, raw: str, raw_hash: str, out: str, page: str) -> Facts:
    """Make training arrays from the archive `raw`, and a page about the data."""
    from linnet.reports.dataset import dataset_page
    from linnet.stages import preprocess as stage

    section = parse_data(data)
    with unpacked(raw) as folder:
        verify(raw, Raw.content_hash(folder), raw_hash)
        stage.run(section, raw=folder, out=Path(out), workers=stage.usable_cores())
        origin = _origin(folder)
    write_text(Path(page), dataset_page(section, Path(out)))
    statistics = read_statistics(Path(out) / Dataset.statistics, made_by="preprocess")
    counts = statistics.model_dump(include={"train_count", "test_count", "rejected_count"})
    return {"content_hash": Dataset.content_hash(Path(out)), **counts, **made_by(out, "preprocess")} | origin


@task
def train(
    training: str,
    *,
    dataset: str,
    dataset_hash: str,
    dataset_facts: Mapping[str, Any],
    out: str,
    num_nodes: int,
) -> Facts:
    """Train as a TrainJob on `num_nodes` nodes where LINNET_TRAINJOB says how, or here, on all GPUs of this machine."""
    from linnet.tasks import nodes
    from linnet.tasks import training as here
    from linnet.tracking.client import known_run

    verify(dataset, Dataset.content_hash(Path(dataset)), dataset_hash)
    recipe, work = parse_training(training), work_location()
    if uses_trainjob(num_nodes):
        nodes.as_trainjob(recipe, dataset=Path(dataset), out=Path(out), work=work, num_nodes=num_nodes)
    else:
        here.check_gpus(pod_gpus())
        here.on_this_machine(
            recipe, dataset=Path(dataset), out=Path(out), work=work, device=device(), keep_checkpoint=in_pod()
        )
    facts = {name: fact for name, fact in dataset_facts.items() if name.startswith("source_")}
    facts |= {"dataset_hash": dataset_hash, "content_hash": Model.content_hash(Path(out)), "git_commit": git_commit()}
    facts |= made_by(out, "train") | _last_row(Path(out))
    run_id = known_run(facts["input_hash"])
    return facts | ({"mlflow_run_id": run_id} if run_id else {})


@task
def sample(recipe: str, *, model: str, model_hash: str, out: str, page: str) -> Facts:
    """Generate all samples on all GPUs of this machine, and make a page about them."""
    from linnet.reports.samples import samples_page
    from linnet.tasks import sampling

    verify(model, Model.content_hash(Path(model)), model_hash)
    parsed = parse(recipe)
    sampling.run(parsed, model=Path(model), out=Path(out), devices=sampling.devices_here(device()))
    write_text(Path(page), samples_page(parsed, Path(out)))
    content = read_provenance(Path(out), made_by="sample")["content_hash"]
    counts = {"num_samples": parsed.sample.num_samples, "seed": parsed.sample.seed}
    return {"content_hash": content, **counts, **made_by(out, "sample")}


@task
def restore(recipe: str, *, dataset: str, dataset_hash: str, model: str, model_hash: str, out: str, page: str) -> Facts:
    """Degrade held-out examples and bring them back."""
    from linnet.reports.restorations import restorations_page
    from linnet.stages import restore as stage

    verify(dataset, Dataset.content_hash(Path(dataset)), dataset_hash)
    verify(model, Model.content_hash(Path(model)), model_hash)
    parsed = parse(recipe)
    stage.run(
        parsed,
        dataset=Path(dataset),
        model=Path(model),
        out=Path(out),
        device=device(),
        batch_size=RESTORE_BATCH,
    )
    write_text(Path(page), restorations_page(parsed, Path(out)))
    content = read_provenance(Path(out), made_by="restore")["content_hash"]
    return {"content_hash": content, "degradations": len(parsed.restore.degradations), **made_by(out, "restore")}


@task
def evaluate(
    recipe: str,
    *,
    dataset: str,
    dataset_hash: str,
    model: str,
    model_hash: str,
    samples: str,
    samples_hash: str,
    restored: str,
    restored_hash: str,
    weights_hash: str,
    out: str,
    page: str,
) -> tuple[Facts, Facts]:
    """Measure, and write the report page; the scores, and facts about the report."""
    from linnet.metrics.results import Metrics
    from linnet.reports.evaluation import evaluation_page
    from linnet.stages import evaluate as stage
    from linnet.tracking.client import log_text

    verify(dataset, Dataset.content_hash(Path(dataset)), dataset_hash)
    verify(model, Model.content_hash(Path(model)), model_hash)
    verify(samples, folder_hash(Path(samples)), samples_hash)
    verify(restored, folder_hash(Path(restored)), restored_hash)
    parsed = parse(recipe)
    stage.run(
        parsed,
        dataset=Path(dataset),
        model=Path(model),
        samples=Path(samples),
        restored=Path(restored),
        out=Path(out),
        device=device(),
        feature_weights=feature_weights(parsed)[0],
        feature_sha256=weights_hash or None,
        batch_size=SAMPLE_BATCH,
        track_run=True,
    )
    text = evaluation_page(parsed, dataset=Path(dataset), samples=Path(samples), report=Path(out))
    write_text(Path(page), text)
    log_text(read_provenance(Path(model), made_by="train")["input_hash"], text, "report/evaluation.html")
    return Metrics.load(Path(out)).scores, {"content_hash": folder_hash(Path(out)), **made_by(out, "evaluate")}


@task
def gate(
    recipe: str,
    *,
    model: str,
    model_hash: str,
    report: str,
    report_hash: str,
    source: str,
    fingerprint: str,
    out: str,
    page: str,
) -> Facts:
    """Make the model a version of the registered model, and the champion if the gate says so; why goes to the page."""
    from linnet.metrics.results import Metrics
    from linnet.stages import register as stage

    verify(model, Model.content_hash(Path(model)), model_hash)
    verify(report, folder_hash(Path(report)), report_hash)
    stage.run(
        parse(recipe), model=Path(model), report=Path(report), out=Path(out), source=source, fingerprint=fingerprint
    )
    result: Facts = read_json(Path(out) / Registration.result, made_by="register")
    title = "champion" if result["promoted"] else "challenger"
    text = f"# {result['model_name']} version {result['version']} is {title}\n\n{result['reason']}\n"
    write_text(Path(page), text)
    scores = "\n".join(f"| {name} | {score:.4g} |" for name, score in Metrics.load(Path(report)).scores.items())
    note_result("gate", f"{text}\n| score (lower is better) | |\n|---|---|\n{scores}")
    return result


@task
def close(state: str, error: str, *, page: str) -> None:
    """Give the MLflow runs of this pipeline run their final state, and say on `page` what became of it.

    The page comes first: it is what people need where MLflow is what failed.
    """
    from linnet.tracking.closing import close_pipeline_runs

    run = pipeline_run()
    if run is None:
        log("LINNET_PIPELINE_RUN is not set: no MLflow run to close")
        return
    end, notes = end_told(state), read_notes()
    if end is CANCELED and was_ended_by_somebody(run) is False:
        end = FAILED  # a pod that was lost with Kubeflow's own process in it tells nobody
    write_text(Path(page), outcome_page(end, error, notes, ()))
    failures = {} if notes is None else notes.failures
    closed = close_pipeline_runs(end.tag, error or "; ".join(f"{name}: {why}" for name, why in failures.items()))
    write_text(Path(page), outcome_page(end, error, notes, closed))
    if end is SUCCEEDED:
        forget_all()
    log(f"pipeline run {run}: {end.tag}; {len(closed)} MLflow run(s) closed")


def _origin(raw: Path) -> Facts:
    source = read_json(raw / Raw.source, made_by="ingest")
    return {f"source_{key}": value for key, value in source.items() if key != "content_hash"}


def _last_row(model: Path) -> Facts:
    header, *_, last = (model / Model.history).read_text(encoding="utf-8").split()
    row = dict(zip(header.split(","), last.split(","), strict=True))
    return {"steps": int(row["step"]), "loss": float(row["loss"])}
