"""restore: held-out examples and a model in, what the model brings back of them out."""

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
    page: Output[HTML],
) -> str:
    """Try the recipe's restoration tasks. Return the folder's content hash."""
    from linnet import tasks

    facts = tasks.restore(
        recipe,
        dataset=dataset.path,
        dataset_hash=dataset_hash,
        model=model.path,
        model_hash=model_hash,
        out=restored.path,
        page=page.path,
    )
    restored.metadata.update(facts)
    return facts["content_hash"]
