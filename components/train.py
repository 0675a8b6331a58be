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
    pod_cpu: str,  # as inputs of the task, KFP finds these three for the pod; the code needs none of them
    pod_memory: str,
    model: Output[Model],
) -> str:
    """Train the diffusion model: as a Kubeflow TrainJob where the cluster has Trainer, or else in this pod.

    Args:
        recipe: The text of the recipe (TOML).
        dataset: The training arrays.
        dataset_hash: Content hash of the data set.
        num_nodes: Nodes to train on.
        pod_gpus: GPUs of this pod.
        pod_cpu: CPUs of this pod.
        pod_memory: Memory of this pod.

    Returns:
        model: Weights and their exponential moving average, the recipe and the training history.
        Output: Content hash of the model.
    """
    from linnet import tasks

    facts = tasks.train(
        recipe,
        dataset=dataset.path,
        dataset_hash=dataset_hash,
        dataset_facts=dataset.metadata,
        out=model.path,
        num_nodes=num_nodes,
    )
    model.metadata.update(facts)
    return facts["content_hash"]
