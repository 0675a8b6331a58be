"""preprocess: raw data in, training arrays out."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def preprocess(
    data: str, raw: Input[Artifact], raw_hash: str, dataset: Output[Dataset], data_page: Output[HTML]
) -> str:
    """Make training arrays and a page about the data.

    Args:
        data: The section [data] of the recipe (TOML).
        raw: The raw data, as one archive.
        raw_hash: Content hash of the raw data.

    Returns:
        dataset: Arrays of the training and the test split, their statistics, and a list of rejected files.
        data_page: The data to look at or to listen to.
        Output: Content hash of the data set.
    """
    from linnet import tasks

    facts = tasks.preprocess(data, raw=raw.path, raw_hash=raw_hash, out=dataset.path, page=data_page.path)
    dataset.metadata.update(facts)
    return facts["content_hash"]
