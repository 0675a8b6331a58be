"""restore: held-out examples and a model in, their degraded copies restored by the model out."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def restore(
    recipe: str,
    dataset: Input[Dataset],
    dataset_hash: str,
    model: Input[Model],
    model_hash: str,
    restored: Output[Artifact],
    restorations_page: Output[HTML],
) -> str:
    """Degrade held-out examples as the recipe says and restore them with the model as prior.

    Args:
        recipe: The text of the recipe (TOML).
        dataset: The data set with the held-out examples.
        dataset_hash: Content hash of the data set.
        model: The trained model.
        model_hash: Content hash of the model.

    Returns:
        restored: For each degradation the clean, the observed and the restored examples.
        restorations_page: The same to look at or to listen to.
        Output: Content hash of the restorations.
    """
    from linnet import tasks

    facts = tasks.restore(
        recipe,
        dataset=dataset.path,
        dataset_hash=dataset_hash,
        model=model.path,
        model_hash=model_hash,
        out=restored.path,
        page=restorations_page.path,
    )
    restored.metadata.update(facts)
    return facts["content_hash"]
