"""sample: a model in, one part of the pictures out."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def sample(
    recipe: str, model: Input[Model], model_hash: str, part: int, parts: int, pictures: Output[Artifact]
) -> None:
    """Draw the pictures of one part, each from its own seed."""
    from linnet import tasks

    facts = tasks.sample(recipe, model=model.path, model_hash=model_hash, out=pictures.path, part=part, parts=parts)
    pictures.metadata.update(facts)
