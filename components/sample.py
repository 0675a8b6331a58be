"""sample: a model in, all samples out."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Input, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def sample(
    recipe: str, model: Input[Model], model_hash: str, samples: Output[Artifact], samples_page: Output[HTML]
) -> str:
    """Generate the samples, each from its own seed, and make a page about them.

    Args:
        recipe: The text of the recipe (TOML).
        model: The trained model.
        model_hash: Content hash of the model.

    Returns:
        samples: All samples with their conditions.
        samples_page: The samples to look at or to listen to.
        Output: Content hash of the samples.
    """
    from linnet import tasks

    facts = tasks.sample(recipe, model=model.path, model_hash=model_hash, out=samples.path, page=samples_page.path)
    samples.metadata.update(facts)
    return facts["content_hash"]
