"""ingest: a source in, verified raw data out."""

from kfp import dsl
from kfp.dsl import Artifact, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def ingest(recipe: str, source: str, raw: Output[Artifact]) -> str:
    """Bring the raw data in; return its content hash."""
    from linnet import tasks

    facts = tasks.ingest(recipe, source=source, out=raw.path)
    raw.metadata.update(facts)
    return facts["content_hash"]
