"""train: a data set in, a model out."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(
    recipe: str,
    dataset: Input[Dataset],
    dataset_hash: str,
    num_nodes: int,
    pod_gpus: str,
    pod_cpu: str,  # as an input of the task, KFP finds it for the pod; the code needs only the number of GPUs
    pod_memory: str,
    model: Output[Model],
) -> str:
    """Train, here or on many nodes; return the model's content hash."""
    from linnet import tasks

    facts = tasks.train(
        recipe,
        dataset=dataset.path,
        dataset_hash=dataset_hash,
        dataset_facts=dataset.metadata,
        out=model.path,
        num_nodes=num_nodes,
        pod_gpus=pod_gpus,
    )
    model.metadata.update(facts)
    return facts["content_hash"]
