"""look: refuse what cannot work, and end what would only repeat itself, before it costs anything.

Kubeflow Pipelines takes two pods and twenty seconds a task, so everything that is decided within seconds is one task:
the recipe, what later tasks need from outside, the source's fingerprint, and the comparison with the registry. Nothing
here imports torch.
"""

from pathlib import Path
from typing import NamedTuple, get_args

from linnet import storage
from linnet.artifacts import git_commit
from linnet.data.synthetic.builtin import SYNTHETIC
from linnet.engine import in_pod
from linnet.errors import redact_credentials
from linnet.files import ArtifactError, write_text
from linnet.launch.trainjob import TrainJobSettings
from linnet.progress import log
from linnet.recipe import Recipe
from linnet.recipe.evaluate import LearnedFeatures
from linnet.recipe.texts import data_text, recipe_text, training_text
from linnet.stages.table import result_code_hash
from linnet.tasks.boundary import task
from linnet.tasks.environment import (
    feature_weights,
    pod_gpus,
    require_shared,
    uses_trainjob,
    work_location,
)
from linnet.tasks.kubeflow import run_state
from linnet.tasks.notes import note_result
from linnet.tasks.request import requested_recipe

CHANGED, UNCHANGED = "changed", "unchanged"


class Plan(NamedTuple):
    """What `look` hands to the tasks after it: texts, which are what an engine's cache compares."""

    recipe: str  # the whole recipe, with the overrides (TOML)
    training: str  # what training depends on
    data: str  # what ingest and preprocess depend on
    fingerprint: str  # of the source as it is now
    weights_hash: str  # of the feature network that `evaluate` has to use; "" where the recipe needs none
    Output: str  # CHANGED if the run goes on; kfp.local finds no other name in a condition


@task
def look(recipe: str, *, overrides: str, source: str, num_nodes: int, only_if_changed: bool, page: str) -> Plan:
    """Check the request and all that later tasks need from outside, and whether there is anything new to learn.

    A plan for people goes to `page`.
    """
    from linnet.registry import lineage
    from linnet.stages import ingest
    from linnet.tracking.client import check_server
    from linnet.tracking.closing import close_leftovers

    asked = requested_recipe(recipe, overrides)
    fingerprint = ingest.fingerprint(asked.data, source or SYNTHETIC)
    check_training(asked, num_nodes)
    check_server(outlives_pods=in_pod())
    close_leftovers(run_state)
    weights_hash = _check_weights(asked)
    comparison = lineage.compare_source(asked, fingerprint=fingerprint, code_hash=result_code_hash())
    go_on = comparison.changed or not only_if_changed
    what = comparison.reason
    if not comparison.changed:
        what += "; training anyway, as asked" if go_on else "; stopping early"
    log(f"{asked.name}: {what}")
    title = asked.name if go_on else f"{asked.name}: nothing changed"
    if not go_on:
        note_result("look", f"# Nothing changed\n\n{comparison.reason}")
    write_text(Path(page), "\n".join([f"# {title}", "", *_plan(asked, source, fingerprint, num_nodes, what)]) + "\n")
    decision = CHANGED if go_on else UNCHANGED
    return Plan(recipe_text(asked), training_text(asked), data_text(asked), fingerprint, weights_hash, decision)


def _plan(recipe: Recipe, source: str, fingerprint: str, num_nodes: int, why: str) -> list[str]:
    return [
        f"- why: {why}",
        f"- data: `{recipe.data.kind}` from {redact_credentials(source) or 'the built-in set'} (`{fingerprint[:8]}`)",
        f"- train: {recipe.train.num_steps:,} steps of {recipe.train.batch_size} examples on {num_nodes} node(s)",
        f"- sample: {recipe.sample.num_samples} examples",
        f"- gate: `{recipe.register_.gate.metric}` decides about the champion of `{recipe.register_.model_name}`",
        f"- code: `{git_commit()}`",
    ]


def check_training(recipe: Recipe, num_nodes: int) -> None:
    """Raises LinnetError unless checkpoints outlive the pod, and the batch can be shared out."""
    if num_nodes < 1:
        raise ArtifactError(f"num_nodes = {num_nodes}: give 1 or more")
    storage.check_access(work_location(), write=True)
    gpus = pod_gpus()
    if uses_trainjob(num_nodes):
        settings = TrainJobSettings.from_environment()
        require_shared(work_location(), settings)
        gpus = settings.gpus_per_node
    elif in_pod():
        require_shared(work_location(), None)
    per_node = max(1, gpus)
    batch_size, processes = recipe.train.batch_size, num_nodes * per_node
    if batch_size % processes:
        fitting = [count for count in range(1, per_node) if batch_size % (num_nodes * count) == 0]
        fewer = f"gpus = {fitting[-1]} in [sizes.train] of the cluster's profile" if fitting else "fewer nodes"
        raise ArtifactError(
            f"[train] batch_size = {batch_size} cannot be shared out evenly to {processes} processes ({num_nodes} "
            f"node(s) of {gpus} GPUs); override train.batch_size={processes * -(-batch_size // processes)}, or take "
            f"{fewer}"
        )


def _check_weights(recipe: Recipe) -> str:
    if not set(get_args(LearnedFeatures)) & set(recipe.evaluate.features):
        return ""  # without importing torch
    from linnet.metrics.extractors.build import find_weights

    weights = find_weights(recipe.evaluate.features, *feature_weights(recipe))
    return "" if weights is None else weights.sha256
