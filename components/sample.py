"""sample: a model in, one part of the images out."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def sample(recipe: str, model: Input[Model], model_hash: str, part: int, parts: int, images: Output[Artifact]) -> None:
    """Draw the images of one part, each from its own seed."""
    from linnet import tasks

    facts = tasks.sample(recipe, model=model.path, model_hash=model_hash, out=images.path, part=part, parts=parts)
    images.metadata.update(facts)
