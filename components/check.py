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
        ("numbers", list[int]),
        ("parts", int),
        ("pod_gpus", str),
        ("pod_cpu", str),
        ("pod_memory", str),
        ("weights_hash", str),
    ],
):
    """Check recipe, source, storage, MLflow and weights; return what the tasks after it need to know."""
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
