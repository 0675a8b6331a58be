"""collect: shards of samples in, one samples folder out."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Input, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def collect(
    recipe: str,
    model: Input[Model],
    model_hash: str,
    shards: Input[list[Artifact]],
    samples: Output[Artifact],
    page: Output[HTML],
) -> str:
    """Join the shards into one folder of samples and make a page about it.

    Args:
        recipe: The text of the recipe (TOML).
        model: The trained model that was sampled.
        model_hash: Content hash of the model.
        shards: What the sampling tasks made.

    Returns:
        samples: All samples with their conditions.
        page: The samples to look at or to listen to.
        Output: Content hash of the samples.
    """
    from linnet import tasks

    facts = tasks.collect(
        recipe, model=model.path, model_hash=model_hash, shards=shards, out=samples.path, page=page.path
    )
    samples.metadata.update(facts)
    return facts["content_hash"]
