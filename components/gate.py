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
    """Apply the recipe's gate to the scores and show its reason; nothing is registered yet.

    Args:
        recipe: The text of the recipe (TOML).
        model: The trained model.
        model_hash: Content hash of the model.
        report: The model's scores.
        report_hash: Content hash of the report.

    Returns:
        reason: Why the gate decided so, for people.
        Output: `promote` if the model would become the champion, `keep` if not.
    """
    from linnet import tasks

    return tasks.gate(
        recipe,
        model=model.path,
        model_hash=model_hash,
        report=report.path,
        report_hash=report_hash,
        page=reason.path,
    )
