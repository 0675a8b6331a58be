"""gate: would the registry make this model its champion?"""

from kfp import dsl
from kfp.dsl import Artifact, Input, Markdown, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def gate(recipe: str, model: Input[Model], report: Input[Artifact], reason: Output[Markdown]) -> str:
    """Ask the recipe's gate and show its reason; return `promote` or `keep`."""
    from linnet import tasks

    return tasks.gate(recipe, model=model.path, report=report.path, page=reason.path)
