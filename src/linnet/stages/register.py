"""register: a model and its report in, a version of the MLflow registered model out, and perhaps a new champion."""

import contextlib
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, assert_never

import linnet
from linnet.artifacts import (
    Model,
    Registration,
    Report,
    check_settings,
    git_commit,
    input_hash,
    read_provenance,
    write_provenance,
)
from linnet.errors import LinnetError, first_line
from linnet.files import ArtifactError, new_folder, read_json, write_json, write_text
from linnet.hashes import folder_hash
from linnet.progress import log
from linnet.recipe import (
    Audio,
    ClassLabel,
    GateSection,
    HuggingFaceTextEncoder,
    MultiLabel,
    Recipe,
    Text,
    Unconditional,
    section_hash,
)
from linnet.stages.table import REGISTER
from linnet.tracking.client import GIT_COMMIT, RUN_KEY, connect, experiment_id, find_run, shown_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature

CHALLENGER, CHAMPION = "challenger", "champion"
DECISION, REASON = "linnet.gate.decision", "linnet.gate.reason"  # tags of a version
AGAINST = "linnet.gate.against"  # tag: the version that was champion when the gate decided, "" for none
PROMOTED, KEPT = "promoted", "kept as challenger"
REQUIREMENTS = (
    *("torch", "numpy", "pandas", "pillow", "pydantic", "tomlkit", "safetensors", "rich", "jinja2", "mlflow"),
    *("pyarrow", "soundfile", "torchaudio", "torchmetrics"),
)


class RegistryError(LinnetError):
    """The MLflow registry does not answer, or does not take the model."""


@dataclass(frozen=True)
class Candidate:
    """What the gate knows of a version: its score, how it was measured, and on which data."""

    score: float
    noise_score: float
    protocol: str
    reference_hash: str


@dataclass(frozen=True)
class Decision:
    """Whether the version becomes champion, and why, in words for people."""

    promote: bool
    reason: str


def run(recipe: Recipe, *, model: Path, report: Path, out: Path) -> None:
    """Make `model` a version of `register.model_name`; move `champion` to it if the gate says so.

    Repeating it finds the version again instead of making a second one.

    Raises:
        ArtifactError: model and report are missing or do not belong together.
        RegistryError: the registry does not answer.
    """
    key, metrics, inputs = _check_inputs(recipe, model, report)
    section = recipe.register_
    with registry_errors(section.model_name):
        entry = _version(connect(), recipe, key, model, report, metrics)
        decision = _decide_once(connect(), section.model_name, entry, section.gate)
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


def preview(recipe: Recipe, *, model: Path, report: Path) -> Decision:
    """What `run` is going to decide, without changing anything. Raises as `run` does."""
    key, metrics, _ = _check_inputs(recipe, model, report)
    name, gate = recipe.register_.model_name, recipe.register_.gate
    with registry_errors(name):
        client = connect()
        champion = version_with_alias(client, name, CHAMPION)
        for entry in client.search_model_versions(f"name = '{name}'"):
            if entry.tags.get(RUN_KEY) == key and (decided := _decided(entry, champion)):
                return decided
        candidate = Candidate(
            score=metrics["scores"][gate.metric],
            noise_score=metrics["context"][gate.metric]["noise"],
            protocol=metrics["protocols"][gate.metric],
            reference_hash=metrics["reference"]["data_hash"],
        )
        return decide(gate, candidate, _candidate(champion, gate) if champion else None)


def version_with_alias(client: "MlflowClient", name: str, alias: str) -> "ModelVersion | None":
    """The version that carries `alias`, if the model and the alias exist."""
    for entry in client.search_registered_models(f"name = '{name}'"):
        aliases = client.get_registered_model(entry.name).aliases
        if alias in aliases:
            return client.get_model_version(name, aliases[alias])
    return None


@contextlib.contextmanager
def registry_errors(name: str) -> Iterator[None]:
    """Troubles with the registry inside become one sentence, a RegistryError."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as reason:
        raise RegistryError(
            f"the MLflow registry at {shown_uri()} did not take {name}: {first_line(reason)}. Nothing is lost: "
            "check MLFLOW_TRACKING_URI and the server, then repeat the command."
        ) from None


def _check_inputs(recipe: Recipe, model: Path, report: Path) -> tuple[str, dict[str, Any], dict[str, str]]:
    """(input hash, metrics, hashes of the input folders)."""
    section = recipe.register_
    inputs = {"model": Model.content_hash(model), "report": folder_hash(report)}
    check_settings(model, made_by="train", section=recipe.training())
    if check_settings(report, made_by="evaluate", section=recipe.evaluate)["inputs"]["model"] != inputs["model"]:
        raise ArtifactError(f"{report} is about another model than {model}; run `linnet evaluate` again")
    key = input_hash(REGISTER, [section], inputs)
    metrics = read_json(report / Report.metrics, made_by="evaluate")
    if section.gate.metric not in metrics["scores"]:
        known = ", ".join(metrics["scores"])
        raise ArtifactError(
            f"{report} has no '{section.gate.metric}', which [register.gate] asks for, only {known}; set its metric to "
            "one of these and repeat the command, nothing else runs again"
        )
    return key, metrics, inputs


def decide(gate: GateSection, candidate: Candidate, champion: Candidate | None) -> Decision:
    """The gate: beat noise by the recipe's ratio, then beat the champion, if the two scores can be compared."""
    limit = gate.max_ratio_to_noise * candidate.noise_score
    score = f"{gate.metric} = {candidate.score:.4g}"
    if not candidate.score <= limit:  # a NaN fails too
        return Decision(False, f"{score} is above {limit:.4g}, {gate.max_ratio_to_noise:g} of what pure noise has")
    if champion is None:
        return Decision(True, f"{score} is within {limit:.4g}, and there is no champion yet")
    if (champion.reference_hash, champion.protocol) != (candidate.reference_hash, candidate.protocol):
        difference = "on other data" if champion.reference_hash != candidate.reference_hash else "by another protocol"
        if gate.when_incomparable == "promote":
            return Decision(True, f"{score} is within {limit:.4g}; the champion was measured {difference}")
        return Decision(
            False,
            f"{score} does not compare: the champion was measured {difference}; set its alias by hand to move it",
        )
    wanted = champion.score - gate.min_improvement * abs(champion.score)  # kernel distances may lie below 0
    if candidate.score < wanted:
        return Decision(True, f"{score} beats the champion's {champion.score:.4g}")
    return Decision(False, f"{score} does not get below {wanted:.4g}; the champion has {champion.score:.4g}")


def _version(
    client: "MlflowClient", recipe: Recipe, key: str, model: Path, report: Path, metrics: dict[str, Any]
) -> "ModelVersion":
    """The version of exactly this model and report, found again or made with all its tags at once."""
    name = recipe.register_.model_name
    known = client.search_model_versions(f"name = '{name}'")
    if found := [entry for entry in known if entry.tags.get(RUN_KEY) == key]:
        return found[0]
    model_key = read_provenance(model, made_by="train")["input_hash"]
    run_id = find_run(client, model_key)
    if run_id is None:  # trained with tracking off
        run_tags = {RUN_KEY: model_key}
        run_id = client.create_run(experiment_id(client), run_name=recipe.name, tags=run_tags).info.run_id
    uri, model_id = _log_model(recipe, run_id, model, report)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, description=f"By linnet, recipe {recipe.name}")
    try:
        known_tags = client.get_run(run_id).data.tags
        commit = known_tags[GIT_COMMIT] if GIT_COMMIT in known_tags else git_commit()
        tags = _tags(recipe, key, model, metrics, commit)
        return client.create_model_version(name, uri, run_id=run_id, tags=tags, model_id=model_id)
    finally:
        client.set_terminated(run_id, "FINISHED")


def _requirements(recipe: Recipe) -> tuple[str, ...]:
    section = recipe.conditioning
    frozen = isinstance(section, Text) and isinstance(section.encoder, HuggingFaceTextEncoder)
    return (*REQUIREMENTS, "transformers") if frozen else REQUIREMENTS


def _signature(recipe: Recipe) -> "tuple[ModelSignature, dict[str, Any]]":
    """(what serving.py takes and gives, an example of it)."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema, TensorSpec

    asked: dict[str, tuple[Literal["long", "double", "string"], Any]]  # by name: type and example
    asked = {"num_samples": ("long", 4), "seed": ("long", 0), "steps": ("long", 10)}
    match recipe.conditioning:
        case Unconditional():
            pass
        case ClassLabel():
            asked |= {"label": ("long", 0), "guidance": ("double", 2.0)}
        case MultiLabel() | Text():
            asked |= {"prompt": ("string", ""), "guidance": ("double", 1.0)}
        case _:
            assert_never(recipe.conditioning)
    told: list[Literal["label", "prompt"]] = ["label"] if "label" in asked else ["prompt"] if "prompt" in asked else []
    if is_audio := isinstance(recipe.data, Audio):
        asked["seconds"] = ("double", 1.0)
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(kind, name, required=name == "num_samples") for name, (kind, _) in asked.items()
    ]
    outputs: list[ColSpec | TensorSpec] = [ColSpec("long", name) for name in ("request", "number")]
    outputs += [ColSpec(asked[name][0], name) for name in told]
    outputs.append(ColSpec("string", "flac" if is_audio else "png"))
    example = {name: value for name, (_, value) in asked.items()}
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs)), example


def _log_model(recipe: Recipe, run_id: str, model: Path, report: Path) -> tuple[str, str]:
    """Log the pyfunc in its training's run; (address, id) of what MLflow calls a logged model."""
    import mlflow
    import pandas as pd

    signature, example = _signature(recipe)
    package = Path(linnet.__file__).parent
    with tempfile.TemporaryDirectory() as scratch, mlflow.start_run(run_id=run_id, log_system_metrics=False):
        whole, sample = Path(scratch) / "recipe.json", Path(scratch) / "sample.json"
        write_text(whole, recipe.model_dump_json(indent=2, by_alias=True) + "\n")
        write_text(sample, recipe.sample.model_dump_json(indent=2) + "\n")
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(package / "serving.py"),
            artifacts={
                "model": str(model),
                "metrics": str(report / Report.metrics),
                "recipe": str(whole),
                "sample": str(sample),
            },
            code_paths=[str(package)],
            signature=signature,
            input_example=pd.DataFrame([example]),
            pip_requirements=[f"{name}=={version(name)}" for name in _requirements(recipe)],
        )
    return str(info.model_uri), str(info.model_id)


def _tags(recipe: Recipe, key: str, model: Path, metrics: dict[str, Any], commit: str) -> dict[str, str]:
    provenance = read_provenance(model, made_by="train")
    return {
        RUN_KEY: key,
        "linnet.recipe": recipe.name,
        "linnet.recipe_hash": section_hash(recipe),
        "linnet.training_recipe_hash": provenance["recipe_hash"],
        "linnet.data_hash": provenance["inputs"]["dataset"],
        "linnet.raw_hash": metrics["reference"]["raw_hash"],
        "linnet.code_hash": metrics["reference"]["code_hash"],
        GIT_COMMIT: commit,
        "linnet.weights_sha256": Model.content_hash(model),
        "linnet.reference_hash": metrics["reference"]["data_hash"],
        "linnet.gate.metric": recipe.register_.gate.metric,
        **{f"linnet.protocol.{name}": protocol for name, protocol in metrics["protocols"].items()},
        **{f"linnet.noise_score.{name}": repr(values["noise"]) for name, values in metrics["context"].items()},
        **{f"linnet.version.{library}": number for library, number in provenance["versions"].items()},
        **{f"linnet.score.{name}": repr(value) for name, value in metrics["scores"].items()},
    }


def _decide_once(client: "MlflowClient", name: str, entry: "ModelVersion", gate: GateSection) -> Decision:
    """Decide, write the decision down, then move the aliases: a repeat after a kill carries the same decision out."""
    champion = version_with_alias(client, name, CHAMPION)
    decision = _decided(entry, champion)
    if decision is None:
        decision = decide(gate, _candidate(entry, gate), _candidate(champion, gate) if champion else None)
        word = PROMOTED if decision.promote else KEPT
        against = str(champion.version) if champion else ""
        for tag, value in ((AGAINST, against), (REASON, decision.reason), (DECISION, word)):
            client.set_model_version_tag(name, entry.version, tag, value)
    newest = max(int(known.version) for known in client.search_model_versions(f"name = '{name}'"))
    if int(entry.version) == newest:
        client.set_registered_model_alias(name, CHALLENGER, entry.version)
    if decision.promote:
        client.set_registered_model_alias(name, CHAMPION, entry.version)
    return decision


def _decided(entry: "ModelVersion", champion: "ModelVersion | None") -> Decision | None:
    """The decision that was written down, if there was one; a promotion lasts until another version is promoted."""
    tags = entry.tags
    if DECISION not in tags:
        return None
    promote = tags[DECISION] == PROMOTED
    undisturbed = (str(entry.version), tags.get(AGAINST, ""))
    if promote and champion is not None and str(champion.version) not in undisturbed:
        return Decision(False, f"version {champion.version} has become champion since this one was")
    return Decision(promote, tags[REASON])


def _candidate(entry: "ModelVersion", gate: GateSection) -> Candidate:
    """What the gate needs of a version; a version that has no such score cannot be compared."""
    tags = entry.tags
    if f"linnet.score.{gate.metric}" not in tags:
        return Candidate(math.nan, math.nan, f"without {gate.metric}", tags["linnet.reference_hash"])
    score, noise = (float(tags[f"linnet.{kind}.{gate.metric}"]) for kind in ("score", "noise_score"))
    return Candidate(score, noise, tags[f"linnet.protocol.{gate.metric}"], tags["linnet.reference_hash"])
