"""register: a model and its report in, a version in the registry out."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Markdown, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(
    recipe: str,
    model: Input[Model],
    model_hash: str,
    report: Input[Artifact],
    report_hash: str,
    registration: Output[Artifact],
    decision: Output[Markdown],
) -> None:
    """Make the model a version in MLflow's registry; the same gate moves the aliases `champion` and `challenger`.

    Args:
        recipe: The text of the recipe (TOML).
        model: The trained model.
        model_hash: Content hash of the model.
        report: The model's scores.
        report_hash: Content hash of the report.

    Returns:
        registration: The version, its aliases and the reason.
        decision: The same, for people.
    """
    from linnet import tasks

    facts = tasks.register(
        recipe,
        model=model.path,
        model_hash=model_hash,
        report=report.path,
        report_hash=report_hash,
        out=registration.path,
        page=decision.path,
    )
    registration.metadata.update(facts)
