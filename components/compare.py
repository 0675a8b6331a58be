"""compare: is there anything new to train on?"""

from kfp import dsl
from kfp.dsl import Artifact, Input, Markdown, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def compare(recipe: str, raw: Input[Artifact], raw_hash: str, only_if_changed: bool, reason: Output[Markdown]) -> str:
    """Compare data, recipe and code with those of the registered model's versions.

    Args:
        recipe: The text of the recipe (TOML).
        raw: The raw data.
        raw_hash: Content hash of the raw data.
        only_if_changed: Whether the run ends here if nothing changed.

    Returns:
        reason: What changed, for people.
        Output: `changed` if the run goes on, `unchanged` if it ends here.
    """
    from linnet import tasks

    return tasks.compare(recipe, raw=raw.path, raw_hash=raw_hash, only_if_changed=only_if_changed, page=reason.path)
