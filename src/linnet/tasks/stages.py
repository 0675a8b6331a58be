"""The stages as tasks of a pipeline engine: texts and paths in, facts for the engine's records out.

Each task is one stage call. It checks what it was handed against the hash that the task before it gave, so that a
cached or half-copied artifact is never built upon, and it fails with one sentence. Where it runs comes from the
environment: LINNET_DEVICE, LINNET_WORK (a folder or an s3:// address), LINNET_PIPELINE_RUN, LINNET_TRAINJOB, and what
MLflow and boto3 read themselves.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from linnet.artifacts import Dataset, Model, Raw, Registration, git_commit, read_provenance
from linnet.files import read_json, write_text
from linnet.hashes import folder_hash
from linnet.modalities.statistics import read_statistics
from linnet.progress import log
from linnet.stages.table import result_code_hash
from linnet.tasks.boundary import (
    RESTORE_BATCH,
    SAMPLE_BATCH,
    Artifact,
    Facts,
    device,
    made_by,
    parse,
    task,
    verify,
    write_reason,
)
from linnet.tasks.environment import feature_weights, in_cluster, work_location

CHANGED, UNCHANGED = "changed", "unchanged"
PROMOTE, KEEP = "promote", "keep"


@task
def ingest(recipe: str, *, source: str, out: str) -> Facts:
    """Bring the raw data; an empty `source` means the built-in default."""
    from linnet.stages import ingest as stage

    work = Path(out).with_name(f".{Path(out).name}.work")
    try:
        stage.run(parse(recipe).data, source=source or None, out=Path(out), work=work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return {"content_hash": Raw.content_hash(Path(out)), **_origin(Path(out))}


@task
def compare(recipe: str, *, raw: str, raw_hash: str, only_if_changed: bool, page: str) -> str:
    """`changed` if training may end in something new, or is asked for anyway; the reason goes to the page."""
    from linnet.registry import lineage

    verify(raw, Raw.content_hash(Path(raw)), raw_hash)
    comparison = lineage.compare(parse(recipe), raw=Path(raw), code_hash=result_code_hash())
    go_on = comparison.changed or not only_if_changed
    tail = "" if comparison.changed else ("; training anyway, as asked" if go_on else "; stopping early")
    write_reason(page, "Go on" if go_on else "Stop early: nothing changed", comparison.reason + tail)
    log(comparison.reason + tail)
    return CHANGED if go_on else UNCHANGED


@task
def preprocess(recipe: str, *, raw: str, raw_hash: str, out: str, page: str) -> Facts:
    """Make training arrays, and a page about the data."""
    from linnet.reports.dataset import dataset_page
    from linnet.stages import preprocess as stage

    data = parse(recipe).data
    verify(raw, Raw.content_hash(Path(raw)), raw_hash)
    stage.run(data, raw=Path(raw), out=Path(out), workers=stage.usable_cores())
    write_text(Path(page), dataset_page(data, Path(out)))
    statistics = read_statistics(Path(out) / Dataset.statistics, made_by="preprocess")
    counts = statistics.model_dump(include={"train_count", "test_count", "rejected_count"})
    facts = {"content_hash": Dataset.content_hash(Path(out)), **counts, **made_by(out, "preprocess")}
    return facts | _origin(Path(raw))


@task
def train(
    recipe: str,
    *,
    dataset: str,
    dataset_hash: str,
    dataset_facts: Mapping[str, Any],
    out: str,
    num_nodes: int,
    pod_gpus: str,
) -> Facts:
    """Train here, on all GPUs of this machine, or on `num_nodes` nodes as a TrainJob."""
    from linnet.tasks import training
    from linnet.tracking.client import known_run

    verify(dataset, Dataset.content_hash(Path(dataset)), dataset_hash)
    parsed, work = parse(recipe), work_location()
    if num_nodes == 1:
        if in_cluster():
            training.check_gpus(int(pod_gpus))
        training.on_this_machine(
            parsed, dataset=Path(dataset), out=Path(out), work=work, device=device(), keep_checkpoint=in_cluster()
        )
    else:
        training.on_many_nodes(parsed, dataset=Path(dataset), out=Path(out), work=work, num_nodes=num_nodes)
    facts = {name: fact for name, fact in dataset_facts.items() if name.startswith("source_")}
    facts |= {"dataset_hash": dataset_hash, "content_hash": Model.content_hash(Path(out)), "git_commit": git_commit()}
    facts |= made_by(out, "train") | _last_row(Path(out))
    run_id = known_run(facts["input_hash"])
    return facts | ({"mlflow_run_id": run_id} if run_id else {})


@task
def sample(recipe: str, *, model: str, model_hash: str, out: str, shard_index: int, num_shards: int) -> Facts:
    """Generate one shard of the samples."""
    from linnet.stages import sample as stage

    verify(model, Model.content_hash(Path(model)), model_hash)
    stage.sample_shard(
        parse(recipe),
        model=Path(model),
        out=Path(out),
        device=device(),
        batch_size=SAMPLE_BATCH,
        shard=int(shard_index),
        num_shards=int(num_shards),
    )
    return {"shard_index": int(shard_index), "num_shards": int(num_shards), **made_by(out, "sample")}


@task
def collect(recipe: str, *, model: str, model_hash: str, shards: Sequence[Artifact], out: str, page: str) -> Facts:
    """Join the shards into one samples folder and make a page about it."""
    from linnet.reports.samples import samples_page
    from linnet.stages import sample as stage

    verify(model, Model.content_hash(Path(model)), model_hash)
    parsed = parse(recipe)
    stage.collect(parsed, model=Path(model), shards=[Path(shard.path) for shard in shards], out=Path(out))
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
def gate(recipe: str, *, model: str, model_hash: str, report: str, report_hash: str, page: str) -> str:
    """What the gate is going to say, `promote` or `keep`; its reason goes to the page."""
    from linnet.stages import register as stage

    verify(model, Model.content_hash(Path(model)), model_hash)
    verify(report, folder_hash(Path(report)), report_hash)
    decision = stage.preview(parse(recipe), model=Path(model), report=Path(report))
    title = "Promote" if decision.promote else "Keep the champion"
    write_reason(page, title, decision.reason)
    log(f"{title}: {decision.reason}")
    return PROMOTE if decision.promote else KEEP


@task
def register(recipe: str, *, model: str, model_hash: str, report: str, report_hash: str, out: str, page: str) -> Facts:
    """Make the model a version of the registered model; the same gate moves the aliases."""
    from linnet.stages import register as stage

    verify(model, Model.content_hash(Path(model)), model_hash)
    verify(report, folder_hash(Path(report)), report_hash)
    stage.run(parse(recipe), model=Path(model), report=Path(report), out=Path(out))
    result: Facts = read_json(Path(out) / Registration.result, made_by="register")
    title = "champion" if result["promoted"] else "challenger"
    write_reason(page, f"{result['model_name']} version {result['version']} is {title}", result["reason"])
    return result


@task
def close(state: str, error: str) -> None:
    """Give the MLflow runs of this pipeline run their final state, whatever happened to the tasks before."""
    from linnet.tracking.closing import close_pipeline_runs
    from linnet.tracking.pipeline_runs import pipeline_run

    if pipeline_run() is None:
        log("LINNET_PIPELINE_RUN is not set: no MLflow run to close")
        return
    closed = close_pipeline_runs(state, error)
    log(f"pipeline run {pipeline_run()}: {state}; {len(closed)} MLflow run(s) closed")


def _origin(raw: Path) -> Facts:
    source = read_json(raw / Raw.source, made_by="ingest")
    return {f"source_{key}": value for key, value in source.items() if key != "content_hash"}


def _last_row(model: Path) -> Facts:
    header, *_, last = (model / Model.history).read_text(encoding="utf-8").split()
    row = dict(zip(header.split(","), last.split(","), strict=True))
    return {"steps": int(row["step"]), "loss": float(row["loss"])}
