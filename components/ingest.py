"""ingest: a source in, verified raw data out."""

from kfp import dsl
from kfp.dsl import Artifact, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def ingest(data: str, source: str, fingerprint: str, raw: Output[Artifact]) -> str:
    """Download or copy the raw data and verify it.

    Args:
        data: The section [data] of the recipe (TOML).
        source: Where the raw data comes from; empty for the built-in set.
        fingerprint: What the source is now; with the same one the cache brings the same data.

    Returns:
        raw: The raw data and where it came from, as one archive (tar).
        Output: Content hash of the raw data.
    """
    from linnet import tasks

    facts = tasks.ingest(data, source=source, fingerprint=fingerprint, out=raw.path)
    raw.metadata.update(facts)
    return facts["content_hash"]
