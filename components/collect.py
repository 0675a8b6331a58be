"""collect: parts of the images in, one samples folder out."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Input, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def collect(
    recipe: str,
    model: Input[Model],
    model_hash: str,
    parts: Input[list[Artifact]],
    samples: Output[Artifact],
    page: Output[HTML],
) -> str:
    """Join the parts and make a page to look at; return the samples' content hash."""
    from linnet import tasks

    facts = tasks.collect(
        recipe, model=model.path, model_hash=model_hash, parts=parts, out=samples.path, page=page.path
    )
    samples.metadata.update(facts)
    return facts["content_hash"]
