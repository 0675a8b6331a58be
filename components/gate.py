"""gate: a model and its report in, a version in the registry out, and perhaps a new champion."""

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
    source: str,
    fingerprint: str,
    registration: Output[Artifact],
    decision: Output[Markdown],
) -> None:
    """Make the model a version in MLflow's registry; the recipe's gate moves the aliases champion and challenger.

    Args:
        recipe: The text of the recipe (TOML).
        model: The trained model.
        model_hash: Content hash of the model.
        report: The model's scores.
        report_hash: Content hash of the report.
        source: Where the raw data came from.
        fingerprint: What the source was when the run began; a later run compares it.

    Returns:
        registration: The version, its aliases and the reason.
        decision: The same, for people.
    """
    from linnet import tasks

    facts = tasks.gate(
        recipe,
        model=model.path,
        model_hash=model_hash,
        report=report.path,
        report_hash=report_hash,
        source=source,
        fingerprint=fingerprint,
        out=registration.path,
        page=decision.path,
    )
    registration.metadata.update(facts)
