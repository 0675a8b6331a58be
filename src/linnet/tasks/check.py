"""check: refuse what cannot work before it costs anything. Nothing here imports torch, so that it answers soon."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, get_args

from linnet import storage
from linnet.artifacts import git_commit
from linnet.errors import redact_credentials
from linnet.files import ArtifactError, write_text
from linnet.launch.trainjob import TrainJobSettings
from linnet.progress import log
from linnet.recipe import Recipe
from linnet.recipe.evaluate import LearnedFeatures
from linnet.tasks.boundary import SAMPLE_BATCH, parse, task
from linnet.tasks.environment import feature_weights, in_cluster, require_shared, uses_trainjob, work_location


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

    parsed = parse(recipe)
    if num_nodes < 1 or sample_tasks < 1:
        raise ArtifactError(f"num_nodes = {num_nodes}, sample_tasks = {sample_tasks}: give 1 or more of each")
    if source:
        check_source(source)
    check_training(parsed, num_nodes, int(training_pod["gpus"]))
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
    pod = waiting_pod if uses_trainjob(num_nodes) else training_pod
    return Plan(list(range(num_shards)), num_shards, pod["gpus"], pod["cpu"], pod["memory"], weights_hash)


def check_training(recipe: Recipe, num_nodes: int, gpus: int) -> None:
    """Raises LinnetError unless checkpoints outlive the pod, and the batch can be shared out."""
    storage.check_access(work_location(), write=True)
    if uses_trainjob(num_nodes):
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
