"""look: refuse a run that cannot work, end one that would only repeat itself, before it costs anything."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Markdown, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def look(
    recipe: str, overrides: str, source: str, num_nodes: int, only_if_changed: bool, plan: Output[Markdown]
) -> NamedTuple(  # type: ignore[valid-type]
    "Plan",
    [
        ("recipe", str),
        ("training", str),
        ("data", str),
        ("fingerprint", str),
        ("weights_hash", str),
        ("Output", str),
    ],
):
    """Check recipe, source, storage, MLflow and weights, and compare with the registry, before anything is computed.

    Args:
        recipe: The name of a recipe in the image, an s3:// address of one, or its text (TOML).
        overrides: Changes to the recipe, such as train.seed=1 train.batch_size=64.
        source: Where the raw data comes from; empty for the built-in set.
        num_nodes: Nodes to train on.
        only_if_changed: Whether the run ends here if source, recipe and code are those of a registered version.

    Returns:
        plan: What the run is going to do and why, for people.
        recipe: The text of the whole recipe, with the overrides (TOML).
        training: The sections of the recipe that training depends on.
        data: The section that ingest and preprocess depend on.
        fingerprint: What the source is now, without downloading it; the cache of ingest depends on it.
        weights_hash: SHA-256 of the weights that evaluate has to use; empty where the recipe needs none.
        Output: `changed` if the run goes on, `unchanged` if it ends here.
    """
    from linnet import tasks

    return tasks.look(
        recipe,
        overrides=overrides,
        source=source,
        num_nodes=num_nodes,
        only_if_changed=only_if_changed,
        page=plan.path,
    )
