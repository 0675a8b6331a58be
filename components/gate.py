"""gate: would the registry make this model its champion?"""

from kfp import dsl
from kfp.dsl import Artifact, Input, Markdown, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def gate(
    recipe: str,
    model: Input[Model],
    model_hash: str,
    report: Input[Artifact],
    report_hash: str,
    reason: Output[Markdown],
) -> str:
    """Ask the recipe's gate and show its reason; return `promote` or `keep`."""
    from linnet import tasks

    return tasks.gate(
        recipe,
        model=model.path,
        model_hash=model_hash,
        report=report.path,
        report_hash=report_hash,
        page=reason.path,
    )
