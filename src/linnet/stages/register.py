"""register: a model and its report in, a version of the MLflow registered model out, and perhaps a new champion."""

from pathlib import Path

from linnet.artifacts import Model, Registration, check_settings, input_hash, write_provenance
from linnet.errors import redact_credentials
from linnet.files import ArtifactError, new_folder, write_json
from linnet.hashes import folder_hash
from linnet.metrics.results import Metrics
from linnet.progress import log
from linnet.recipe import Recipe
from linnet.registry import versions
from linnet.registry.lineage import source_tag
from linnet.registry.versions import CHALLENGER, CHAMPION, open_registry
from linnet.stages.table import REGISTER


def run(
    recipe: Recipe, *, model: Path, report: Path, out: Path, source: str = "", fingerprint: str | None = None
) -> None:
    """Make `model` a version of `register.model_name`; move `champion` to it if the gate says so.

    Repeating it finds the version again instead of making a second one.

    Args:
        source: where the data came from, as it was given; "" for the built-in set.
        fingerprint: of that source; the version is known by it to `lineage.compare_source`.

    Raises:
        ArtifactError: model and report are missing or do not belong together.
        RegistryError: the registry does not answer.
    """
    key, metrics, inputs = _check_inputs(recipe, model, report)
    section = recipe.register_
    with open_registry(section.model_name) as client:
        entry = versions.find_or_create(client, recipe, key, model=model, report=report, metrics=metrics)
        if fingerprint is not None:
            tag, where = source_tag(fingerprint), redact_credentials(source) or "built-in"
            client.set_model_version_tag(section.model_name, entry.version, tag, where)
        decision = versions.decide_once(client, section.model_name, entry, section.gate)
    with new_folder(out) as folder:
        write_json(
            folder / Registration.result,
            {
                "model_name": section.model_name,
                "version": int(entry.version),
                "promoted": decision.promote,
                "reason": decision.reason,
            },
        )
        write_provenance(folder, REGISTER, [section], inputs)
    alias = CHAMPION if decision.promote else CHALLENGER
    log(f"{section.model_name} version {entry.version} is {alias}: {decision.reason}")


def _check_inputs(recipe: Recipe, model: Path, report: Path) -> tuple[str, Metrics, dict[str, str]]:
    """(input hash, metrics, hashes of the input folders)."""
    section = recipe.register_
    inputs = {"model": Model.content_hash(model), "report": folder_hash(report)}
    check_settings(model, made_by="train", section=recipe.training())
    if check_settings(report, made_by="evaluate", section=recipe.evaluate)["inputs"]["model"] != inputs["model"]:
        raise ArtifactError(f"{report} is about another model than {model}; run `linnet evaluate` again")
    key = input_hash(REGISTER, [section], inputs)
    metrics = Metrics.load(report)
    if section.gate.metric not in metrics.scores:
        known = ", ".join(metrics.scores)
        raise ArtifactError(
            f"{report} has no '{section.gate.metric}', which [register.gate] asks for, only {known}; set its metric to "
            "one of these and repeat the command, nothing else runs again"
        )
    return key, metrics, inputs
