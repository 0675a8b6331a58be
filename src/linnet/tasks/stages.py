"""The stages as tasks of a pipeline engine: texts and paths in, facts for the engine's records out.

Each task is one stage call. It checks what it was handed against the hash that the task before it gave, so that a
cached or half-copied artifact is never built upon, and it fails with one sentence. Where it runs comes from the
environment: LINNET_DEVICE, LINNET_WORK (a folder or an s3:// address), LINNET_PIPELINE_RUN, LINNET_TRAINJOB, and what
MLflow and boto3 read themselves.
"""

import functools
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar, get_args

from linnet import storage
from linnet.artifacts import Dataset, Model, Raw, Registration, git_commit, read_provenance
from linnet.errors import error_boundary, redact_credentials
from linnet.files import ArtifactError, read_json, write_text
from linnet.hashes import folder_hash
from linnet.launch.trainjob import TrainJobSettings
from linnet.modalities.statistics import read_statistics
from linnet.progress import log
from linnet.recipe import Recipe
from linnet.recipe.evaluate import LearnedFeatures
from linnet.recipe.load import parse_recipe
from linnet.stages.table import result_code_hash
from linnet.tasks.environment import feature_weights, in_cluster, require_shared, work_location

Facts = dict[str, Any]
P = ParamSpec("P")
R = TypeVar("R")

TERMINATION_LOG = Path("/dev/termination-log")  # what Kubernetes shows as the reason of a pod's end
SAMPLE_BATCH = 64
RESTORE_BATCH = 16
CHANGED, UNCHANGED = "changed", "unchanged"
PROMOTE, KEEP = "promote", "keep"


class Artifact(Protocol):
    """What an engine hands over: something that lies at a path."""

    path: str


def task(function: Callable[P, R]) -> Callable[P, R]:
    """Expected errors become one sentence, in a pod also as its termination message; bugs keep their traceback."""

    def tell(message: str) -> None:
        log(f"linnet {function.__name__}: {message}")
        if in_cluster() and TERMINATION_LOG.exists():
            TERMINATION_LOG.write_text(f"linnet {function.__name__}: {message}", encoding="utf-8")

    @functools.wraps(function)
    def run(*arguments: P.args, **keywords: P.kwargs) -> R:
        with error_boundary(tell):
            return function(*arguments, **keywords)

    return run


class Plan(NamedTuple):
    """What `check` hands to the tasks after it. KFP takes resources as texts only."""

    shard_indices: list[int]  # one for each sampling task
    num_shards: int
    pod_gpus: str  # of the pod of `train`; "0" where it only waits for a TrainJob
    pod_cpu: str
    pod_memory: str
    weights_hash: str  # of the feature network that `evaluate` has to use; "" where the recipe needs none


@task
def check(
    recipe: str,
    *,
    source: str,
    num_nodes: int,
    sample_tasks: int,
    training_pod: Mapping[str, str],
    waiting_pod: Mapping[str, str],
    page: str,
) -> Plan:
    """Refuse what cannot work before it costs anything.

    Looks at the recipe, and at all that later tasks need from outside; writes a plan for people.
    """
    from linnet.stages.ingest import check_source
    from linnet.tracking.client import check_server

    parsed = _parse(recipe)
    if num_nodes < 1 or sample_tasks < 1:
        raise ArtifactError(f"num_nodes = {num_nodes}, sample_tasks = {sample_tasks}: give 1 or more of each")
    if source:
        check_source(source)
    _check_place(parsed, num_nodes, int(training_pod["gpus"]))
    check_server(outlives_pods=in_cluster())
    weights_hash = _check_weights(parsed)
    num_shards = min(sample_tasks, -(-parsed.sample.num_samples // SAMPLE_BATCH))
    plan = [
        f"# {parsed.name}",
        f"- data: `{parsed.data.kind}` from {redact_credentials(source) or 'the built-in set'}",
        f"- train: {parsed.train.num_steps:,} steps of {parsed.train.batch_size} examples on {num_nodes} node(s)",
        f"- sample: {parsed.sample.num_samples} examples in {num_shards} task(s)",
        f"- gate: `{parsed.register_.gate.metric}` decides about the champion of `{parsed.register_.model_name}`",
        f"- code: `{git_commit()}`",
    ]
    write_text(Path(page), "\n".join(plan) + "\n")
    log(f"{parsed.name}: good")
    pod = training_pod if num_nodes == 1 else waiting_pod
    return Plan(list(range(num_shards)), num_shards, pod["gpus"], pod["cpu"], pod["memory"], weights_hash)


def _check_place(recipe: Recipe, num_nodes: int, gpus: int) -> None:
    """Checkpoints have a place that outlives the pod, and the batch can be shared out."""
    storage.check_access(work_location(), write=True)
    if num_nodes > 1 or in_cluster():
        require_shared(work_location(), TrainJobSettings.from_environment())
    per_node = max(1, gpus) if in_cluster() else 1
    batch_size, processes = recipe.train.batch_size, num_nodes * per_node
    if batch_size % processes:
        fitting = [count for count in range(1, per_node) if batch_size % (num_nodes * count) == 0]
        fewer = (
            f"gpus = {fitting[-1]} in [sizes.train] of pipelines/clusters/default.toml" if fitting else "fewer nodes"
        )
        raise ArtifactError(
            f"[train] batch_size = {batch_size} cannot be shared out evenly to {processes} processes ({num_nodes} "
            f"node(s) of {gpus} GPUs); give --set train.batch_size={processes * -(-batch_size // processes)} or {fewer}"
        )


def _check_weights(recipe: Recipe) -> str:
    if not set(get_args(LearnedFeatures)) & set(recipe.evaluate.features):
        return ""  # without importing torch
    from linnet.metrics.extractors.build import find_weights

    weights = find_weights(recipe.evaluate.features, *feature_weights(recipe))
    return "" if weights is None else weights.sha256


@task
def ingest(recipe: str, *, source: str, out: str) -> Facts:
    """Bring the raw data; an empty `source` means the built-in default."""
    from linnet.stages import ingest as stage

    work = Path(out).with_name(f".{Path(out).name}.work")
    try:
        stage.run(_parse(recipe).data, source=source or None, out=Path(out), work=work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return {"content_hash": Raw.content_hash(Path(out)), **_origin(Path(out))}


@task
def compare(recipe: str, *, raw: str, raw_hash: str, only_if_changed: bool, page: str) -> str:
    """`changed` if training may end in something new, or is asked for anyway; the reason goes to the page."""
    from linnet.registry import lineage

    _verify(raw, Raw.content_hash(Path(raw)), raw_hash)
    comparison = lineage.compare(_parse(recipe), raw=Path(raw), code_hash=result_code_hash())
    go_on = comparison.changed or not only_if_changed
    tail = "" if comparison.changed else ("; training anyway, as asked" if go_on else "; stopping early")
    _write_reason(page, "Go on" if go_on else "Stop early: nothing changed", comparison.reason + tail)
    log(comparison.reason + tail)
    return CHANGED if go_on else UNCHANGED


@task
def preprocess(recipe: str, *, raw: str, raw_hash: str, out: str, page: str) -> Facts:
    """Make training arrays, and a page about the data."""
    from linnet.reports.dataset import dataset_page
    from linnet.stages import preprocess as stage

    data = _parse(recipe).data
    _verify(raw, Raw.content_hash(Path(raw)), raw_hash)
    stage.run(data, raw=Path(raw), out=Path(out), workers=stage.usable_cores())
    write_text(Path(page), dataset_page(data, Path(out)))
    statistics = read_statistics(Path(out) / Dataset.statistics, made_by="preprocess")
    counts = statistics.model_dump(include={"train_count", "test_count", "rejected_count"})
    facts = {"content_hash": Dataset.content_hash(Path(out)), **counts, **_made_by(out, "preprocess")}
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

    _verify(dataset, Dataset.content_hash(Path(dataset)), dataset_hash)
    parsed, work = _parse(recipe), work_location()
    if num_nodes == 1:
        if in_cluster():
            training.check_gpus(int(pod_gpus))
        training.on_this_machine(
            parsed, dataset=Path(dataset), out=Path(out), work=work, device=_device(), keep_checkpoint=in_cluster()
        )
    else:
        training.on_many_nodes(parsed, dataset=Path(dataset), out=Path(out), work=work, num_nodes=num_nodes)
    facts = {name: fact for name, fact in dataset_facts.items() if name.startswith("source_")}
    facts |= {"dataset_hash": dataset_hash, "content_hash": Model.content_hash(Path(out)), "git_commit": git_commit()}
    facts |= _made_by(out, "train") | _last_row(Path(out))
    run_id = known_run(facts["input_hash"])
    return facts | ({"mlflow_run_id": run_id} if run_id else {})


@task
def sample(recipe: str, *, model: str, model_hash: str, out: str, shard_index: int, num_shards: int) -> Facts:
    """Generate one shard of the samples."""
    from linnet.stages import sample as stage

    _verify(model, Model.content_hash(Path(model)), model_hash)
    stage.sample_shard(
        _parse(recipe),
        model=Path(model),
        out=Path(out),
        device=_device(),
        batch_size=SAMPLE_BATCH,
        shard=int(shard_index),
        num_shards=int(num_shards),
    )
    return {"shard_index": int(shard_index), "num_shards": int(num_shards), **_made_by(out, "sample")}


@task
def collect(recipe: str, *, model: str, model_hash: str, shards: Sequence[Artifact], out: str, page: str) -> Facts:
    """Join the shards into one samples folder and make a page about it."""
    from linnet.reports.samples import samples_page
    from linnet.stages import sample as stage

    _verify(model, Model.content_hash(Path(model)), model_hash)
    parsed = _parse(recipe)
    stage.collect(parsed, model=Path(model), shards=[Path(shard.path) for shard in shards], out=Path(out))
    write_text(Path(page), samples_page(parsed, Path(out)))
    content = read_provenance(Path(out), made_by="sample")["content_hash"]
    counts = {"num_samples": parsed.sample.num_samples, "seed": parsed.sample.seed}
    return {"content_hash": content, **counts, **_made_by(out, "sample")}


@task
def restore(recipe: str, *, dataset: str, dataset_hash: str, model: str, model_hash: str, out: str, page: str) -> Facts:
    """Degrade held-out examples and bring them back."""
    from linnet.reports.restorations import restorations_page
    from linnet.stages import restore as stage

    _verify(dataset, Dataset.content_hash(Path(dataset)), dataset_hash)
    _verify(model, Model.content_hash(Path(model)), model_hash)
    parsed = _parse(recipe)
    stage.run(
        parsed,
        dataset=Path(dataset),
        model=Path(model),
        out=Path(out),
        device=_device(),
        batch_size=RESTORE_BATCH,
    )
    write_text(Path(page), restorations_page(parsed, Path(out)))
    content = read_provenance(Path(out), made_by="restore")["content_hash"]
    return {"content_hash": content, "degradations": len(parsed.restore.degradations), **_made_by(out, "restore")}


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

    _verify(dataset, Dataset.content_hash(Path(dataset)), dataset_hash)
    _verify(model, Model.content_hash(Path(model)), model_hash)
    _verify(samples, folder_hash(Path(samples)), samples_hash)
    _verify(restored, folder_hash(Path(restored)), restored_hash)
    parsed = _parse(recipe)
    stage.run(
        parsed,
        dataset=Path(dataset),
        model=Path(model),
        samples=Path(samples),
        restored=Path(restored),
        out=Path(out),
        device=_device(),
        feature_weights=feature_weights(parsed)[0],
        feature_sha256=weights_hash or None,
        batch_size=SAMPLE_BATCH,
        track_run=True,
    )
    text = evaluation_page(parsed, dataset=Path(dataset), samples=Path(samples), report=Path(out))
    write_text(Path(page), text)
    log_text(read_provenance(Path(model), made_by="train")["input_hash"], text, "report/evaluation.html")
    return Metrics.load(Path(out)).scores, {"content_hash": folder_hash(Path(out)), **_made_by(out, "evaluate")}


@task
def gate(recipe: str, *, model: str, model_hash: str, report: str, report_hash: str, page: str) -> str:
    """What the gate is going to say, `promote` or `keep`; its reason goes to the page."""
    from linnet.stages import register as stage

    _verify(model, Model.content_hash(Path(model)), model_hash)
    _verify(report, folder_hash(Path(report)), report_hash)
    decision = stage.preview(_parse(recipe), model=Path(model), report=Path(report))
    title = "Promote" if decision.promote else "Keep the champion"
    _write_reason(page, title, decision.reason)
    log(f"{title}: {decision.reason}")
    return PROMOTE if decision.promote else KEEP


@task
def register(recipe: str, *, model: str, model_hash: str, report: str, report_hash: str, out: str, page: str) -> Facts:
    """Make the model a version of the registered model; the same gate moves the aliases."""
    from linnet.stages import register as stage

    _verify(model, Model.content_hash(Path(model)), model_hash)
    _verify(report, folder_hash(Path(report)), report_hash)
    stage.run(_parse(recipe), model=Path(model), report=Path(report), out=Path(out))
    result: Facts = read_json(Path(out) / Registration.result, made_by="register")
    title = "champion" if result["promoted"] else "challenger"
    _write_reason(page, f"{result['model_name']} version {result['version']} is {title}", result["reason"])
    return result


@task
def close(state: str, error: str) -> None:
    """Give the MLflow runs of this pipeline run their final state, whatever happened to the tasks before."""
    from linnet.tracking.client import close_pipeline_runs, pipeline_run

    if pipeline_run() is None:
        log("LINNET_PIPELINE_RUN is not set: no MLflow run to close")
        return
    closed = close_pipeline_runs(state, error)
    log(f"pipeline run {pipeline_run()}: {state}; {len(closed)} MLflow run(s) closed")


def _parse(text: str) -> Recipe:
    return parse_recipe(text, where="the recipe")


def _device() -> Any:
    from linnet.models.device import pick_device

    return pick_device(os.environ.get("LINNET_DEVICE") or "auto")


def _verify(path: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise ArtifactError(
            f"{path} is not what the task before it made (hash {found[:12]}, wanted {wanted[:12]}): the copy is "
            "damaged or cached from elsewhere; run that task again without its cache"
        )


def _made_by(folder: str, stage: str) -> dict[str, str]:
    provenance = read_provenance(Path(folder), made_by=stage)
    return {name: provenance[name] for name in ("input_hash", "recipe_hash", "code_hash")}


def _origin(raw: Path) -> Facts:
    source = read_json(raw / Raw.source, made_by="ingest")
    return {f"source_{key}": value for key, value in source.items() if key != "content_hash"}


def _last_row(model: Path) -> Facts:
    header, *_, last = (model / Model.history).read_text(encoding="utf-8").split()
    row = dict(zip(header.split(","), last.split(","), strict=True))
    return {"steps": int(row["step"]), "loss": float(row["loss"])}


def _write_reason(page: str, title: str, reason: str) -> None:
    write_text(Path(page), f"# {title}\n\n{reason}\n")
