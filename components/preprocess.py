"""preprocess: raw data in, training arrays out."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def preprocess(recipe: str, raw: Input[Artifact], raw_hash: str, dataset: Output[Dataset], report: Output[HTML]) -> str:
    """Make training arrays and a page about the data; return the data set's content hash."""
    from linnet import tasks

    facts = tasks.preprocess(recipe, raw=raw.path, raw_hash=raw_hash, out=dataset.path, page=report.path)
    dataset.metadata.update(facts)
    return facts["content_hash"]
