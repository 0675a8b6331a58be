"""check: refuse a run that cannot work, before it costs anything."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Markdown, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def check(
    recipe: str, source: str, num_nodes: int, sample_tasks: int, gpus_per_node: int, plan: Output[Markdown]
) -> NamedTuple("Plan", [("numbers", list[int]), ("pod_gpus", str)]):  # type: ignore[valid-type]
    """Check recipe, storage and MLflow; return the numbers of the sampling tasks, and the GPUs of the train pod."""
    from linnet import tasks

    return tasks.check(
        recipe,
        source=source,
        num_nodes=num_nodes,
        sample_tasks=sample_tasks,
        gpus_per_node=gpus_per_node,
        page=plan.path,
    )
