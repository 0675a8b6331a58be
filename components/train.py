"""train: a data set in, a model out."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(training: str, dataset: Input[Dataset], dataset_hash: str, num_nodes: int, model: Output[Model]) -> str:
    """Train the diffusion model in a TrainJob that this task makes and follows, or in its own pod.

    Args:
        training: The sections of the recipe that training depends on (TOML).
        dataset: The training arrays.
        dataset_hash: Content hash of the data set.
        num_nodes: Nodes to train on.

    Returns:
        model: Weights and their exponential moving average, the recipe and the training history.
        Output: Content hash of the model.
    """
    from linnet import tasks

    facts = tasks.train(
        training,
        dataset=dataset.path,
        dataset_hash=dataset_hash,
        dataset_facts=dataset.metadata,
        out=model.path,
        num_nodes=num_nodes,
    )
    model.metadata.update(facts)
    return facts["content_hash"]
