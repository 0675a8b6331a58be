"""check: refuse a run that cannot work, before it costs anything."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Markdown, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def check(
    recipe: str,
    source: str,
    num_nodes: int,
    sample_tasks: int,
    training_pod: dict[str, str],
    waiting_pod: dict[str, str],
    plan: Output[Markdown],
) -> NamedTuple(  # type: ignore[valid-type]
    "Plan",
    [
        ("shard_indices", list[int]),
        ("num_shards", int),
        ("pod_gpus", str),
        ("pod_cpu", str),
        ("pod_memory", str),
        ("weights_hash", str),
    ],
):
    """Check recipe, source, storage, MLflow and weights before anything is computed.

    Args:
        recipe: The text of the recipe (TOML).
        source: Where the raw data comes from; empty for the built-in set.
        num_nodes: Nodes to train on.
        sample_tasks: The largest number of tasks that may share the sampling.
        training_pod: GPUs, CPUs and memory of a pod that trains.
        waiting_pod: The same of a pod that only waits for a TrainJob.

    Returns:
        plan: What the run is going to do, for people.
        shard_indices: One number for each task that samples.
        num_shards: How many tasks sample.
        pod_gpus: GPUs for the pod of the training task.
        pod_cpu: CPUs for the pod of the training task.
        pod_memory: Memory for the pod of the training task.
        weights_hash: SHA-256 of the weights that evaluate has to use; empty where the recipe needs none.
    """
    from linnet import tasks

    return tasks.check(
        recipe,
        source=source,
        num_nodes=num_nodes,
        sample_tasks=sample_tasks,
        training_pod=training_pod,
        waiting_pod=waiting_pod,
        page=plan.path,
    )
