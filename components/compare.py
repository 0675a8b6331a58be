"""compare: is there anything new to train on?"""

from kfp import dsl
from kfp.dsl import Artifact, Input, Markdown, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def compare(recipe: str, raw: Input[Artifact], only_if_changed: bool, reason: Output[Markdown]) -> str:
    """Compare data, recipe and code with the registered model's tags; return `changed` or `unchanged`."""
    from linnet import tasks

    return tasks.compare(recipe, raw=raw.path, only_if_changed=only_if_changed, page=reason.path)
