"""ingest: a source in, verified raw data out."""

from kfp import dsl
from kfp.dsl import Artifact, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def ingest(recipe: str, source: str, raw: Output[Artifact]) -> str:
    """Download or copy the raw data and verify it.

    Args:
        recipe: The text of the recipe (TOML).
        source: Where the raw data comes from; empty for the built-in set.

    Returns:
        raw: The raw data, and where it came from.
        Output: Content hash of the raw data.
    """
    from linnet import tasks

    facts = tasks.ingest(recipe, source=source, out=raw.path)
    raw.metadata.update(facts)
    return facts["content_hash"]
