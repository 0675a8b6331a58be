"""The versions of a registered model in MLflow: making one, and moving the aliases champion and challenger."""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.artifacts import Model, git_commit, read_provenance
from linnet.errors import LinnetError
from linnet.metrics.results import Metrics
from linnet.recipe import GateSection, Recipe, section_hash
from linnet.registry.gate import Candidate, Decision, decide
from linnet.registry.lock import model_lock
from linnet.registry.pyfunc import log_model
from linnet.tracking.client import GIT_COMMIT, RUN_KEY, connect, find_or_create_run
from linnet.tracking.failures import TrackingError, server_errors
from linnet.tracking.outages import create_once
from linnet.tracking.pipeline_runs import in_use

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHALLENGER, CHAMPION = "challenger", "champion"
DECISION, REASON = "linnet.gate.decision", "linnet.gate.reason"  # tags of a version
AGAINST = "linnet.gate.against"  # tag: the version that was champion when the gate decided, "" for none
PROMOTED, KEPT = "promoted", "kept as challenger"


class RegistryError(LinnetError):
    """The MLflow registry does not answer, or does not take the model."""


@dataclass(frozen=True)
class Version:
    """What people need to know of a version to choose one."""

    number: int
    alias: str  # "" for none
    score: str
    reason: str  # of the gate, or of whoever moved the alias


@contextlib.contextmanager
def open_registry(name: str) -> "Iterator[MlflowClient]":
    """A client of the registry; its troubles with the model `name` become one sentence, a RegistryError."""
    try:
        with server_errors():
            yield connect()
    except TrackingError as reason:
        raise RegistryError(f"{reason}. Asked about the registered model {name}; nothing is lost") from None


def all_versions(client: "MlflowClient", name: str) -> "list[ModelVersion]":
    """All versions of the registered model `name`; none where there is no such model."""
    return list(client.search_model_versions(f"name = '{name}'"))


def version_with_alias(client: "MlflowClient", name: str, alias: str) -> "ModelVersion | None":
    """The version that carries `alias`, if the model and the alias exist."""
    for entry in client.search_registered_models(f"name = '{name}'"):
        aliases = client.get_registered_model(entry.name).aliases
        if alias in aliases:
            return client.get_model_version(name, aliases[alias])
    return None


def summaries(client: "MlflowClient", name: str) -> list[Version]:
    """All versions of `name` for people, newest first."""
    aliases: dict[int, str] = {}
    for alias in (CHALLENGER, CHAMPION):  # the second wins where one version has both
        if entry := version_with_alias(client, name, alias):
            aliases[int(entry.version)] = alias
    found = []
    for entry in all_versions(client, name):
        number, metric = int(entry.version), entry.tags.get("linnet.gate.metric", "")
        score = entry.tags.get(f"linnet.score.{metric}")
        text = f"{metric} = {float(score):.4g}" if score is not None else ""
        found.append(Version(number, aliases.get(number, ""), text, entry.tags.get(REASON, "")))
    return sorted(found, key=lambda version: -version.number)


def find_or_create(
    client: "MlflowClient", recipe: Recipe, key: str, *, model: Path, report: Path, metrics: Metrics
) -> "ModelVersion":
    """The version of exactly this model and report, found again or made with all its tags at once."""
    name = recipe.register_.model_name
    model_key = read_provenance(model, made_by="train")["input_hash"]
    run_id = find_or_create_run(client, model_key, run_name=recipe.name)  # none where it was trained with tracking off
    with in_use(client, run_id):
        if found := _version_of(client, name, key):
            return found
        uri, model_id = log_model(recipe, run_id, key, model=model, report=report)
        known_tags = client.get_run(run_id).data.tags
        commit = known_tags[GIT_COMMIT] if GIT_COMMIT in known_tags else git_commit()
        tags = _tags(recipe, key, model, metrics, commit)
        _ensure_registered_model(client, name, f"By linnet, recipe {recipe.name}")

        def create() -> "ModelVersion":
            return client.create_model_version(name, uri, run_id=run_id, tags=tags, model_id=model_id)

        return version_once(client, name, key, create)


def version_once(client: "MlflowClient", name: str, key: str, create: "Callable[[], ModelVersion]") -> "ModelVersion":
    """The version tagged with `key`, which `create` makes if there is none: of two at once, the second finds it."""
    with model_lock(client, name):
        return create_once(lambda: _version_of(client, name, key), create)


def _version_of(client: "MlflowClient", name: str, key: str) -> "ModelVersion | None":
    found = [entry for entry in all_versions(client, name) if entry.tags.get(RUN_KEY) == key]
    return min(found, key=lambda entry: int(entry.version), default=None)


def _ensure_registered_model(client: "MlflowClient", name: str, description: str) -> None:
    from mlflow.exceptions import MlflowException

    if client.search_registered_models(f"name = '{name}'"):
        return
    try:
        client.create_registered_model(name, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another was faster
            raise


def _tags(recipe: Recipe, key: str, model: Path, metrics: Metrics, commit: str) -> dict[str, str]:
    provenance = read_provenance(model, made_by="train")
    return {
        RUN_KEY: key,
        "linnet.recipe": recipe.name,
        "linnet.recipe_hash": section_hash(recipe),
        "linnet.training_recipe_hash": provenance["recipe_hash"],
        "linnet.data_hash": provenance["inputs"]["dataset"],
        "linnet.raw_hash": metrics.reference.raw_hash,
        "linnet.code_hash": metrics.reference.code_hash,
        GIT_COMMIT: commit,
        "linnet.weights_sha256": Model.content_hash(model),
        "linnet.reference_hash": metrics.reference.data_hash,
        "linnet.gate.metric": recipe.register_.gate.metric,
        **{f"linnet.protocol.{name}": protocol for name, protocol in metrics.protocols.items()},
        **{f"linnet.noise_score.{name}": repr(context.noise) for name, context in metrics.context.items()},
        **{f"linnet.real_score.{name}": repr(context.real) for name, context in metrics.context.items()},
        **{f"linnet.score_high.{name}": repr(interval.high) for name, interval in metrics.intervals.items()},
        **{f"linnet.version.{library}": number for library, number in provenance["versions"].items()},
        **{f"linnet.score.{name}": repr(value) for name, value in metrics.scores.items()},
    }


def decide_once(client: "MlflowClient", name: str, entry: "ModelVersion", gate: GateSection) -> Decision:
    """Decide, write the decision down, then move the aliases: a repeat after a kill carries the same decision out.

    One at a time: of two that beat the same champion, the second has to beat the first.
    """
    with model_lock(client, name):
        return _decide(client, name, entry, gate)


def _decide(client: "MlflowClient", name: str, entry: "ModelVersion", gate: GateSection) -> Decision:
    champion = version_with_alias(client, name, CHAMPION)
    decision = earlier_decision(entry, champion)
    if decision is None:
        decision = decide(gate, candidate_of(entry, gate), candidate_of(champion, gate) if champion else None)
        word = PROMOTED if decision.promote else KEPT
        against = str(champion.version) if champion else ""
        for tag, value in ((AGAINST, against), (REASON, decision.reason), (DECISION, word)):
            client.set_model_version_tag(name, entry.version, tag, value)
    newest = max(int(known.version) for known in all_versions(client, name))
    if int(entry.version) == newest:
        client.set_registered_model_alias(name, CHALLENGER, entry.version)
    if decision.promote:
        client.set_registered_model_alias(name, CHAMPION, entry.version)
    return decision


def earlier_decision(entry: "ModelVersion", champion: "ModelVersion | None") -> Decision | None:
    """The decision that was written down, if there was one; a promotion lasts until another version is promoted."""
    tags = entry.tags
    if DECISION not in tags:
        return None
    promote = tags[DECISION] == PROMOTED
    undisturbed = (str(entry.version), tags.get(AGAINST, ""))
    if promote and champion is not None and str(champion.version) not in undisturbed:
        return Decision(False, f"version {champion.version} has become champion since this one was")
    return Decision(promote, tags[REASON])


def candidate_of(entry: "ModelVersion", gate: GateSection) -> Candidate:
    """What the gate needs of a version; a version that has no such score cannot be compared."""
    tags = entry.tags

    def number(kind: str) -> float | None:
        name = f"linnet.{kind}.{gate.metric}"
        return float(tags[name]) if name in tags else None

    score, noise = number("score"), number("noise_score")
    is_known = score is not None and noise is not None
    return Candidate(
        score=math.nan if score is None else score,
        noise_score=math.nan if noise is None else noise,
        protocol=tags[f"linnet.protocol.{gate.metric}"] if is_known else f"without {gate.metric}",
        reference_hash=tags["linnet.reference_hash"],
        real_score=number("real_score"),
        score_high=number("score_high"),
    )


def promote(client: "MlflowClient", name: str, number: int, reason: str) -> None:
    """Make version `number` the champion by hand; the one it replaces is marked, so that no repeat brings it back."""
    before = version_with_alias(client, name, CHAMPION)
    if before is not None and int(before.version) != number:
        words = f"replaced by version {number} by hand: {reason}"
        client.set_model_version_tag(name, before.version, REASON, words)
        client.set_model_version_tag(name, before.version, DECISION, KEPT)
    client.set_model_version_tag(name, str(number), REASON, f"by hand: {reason}")
    client.set_model_version_tag(name, str(number), DECISION, PROMOTED)
    client.set_registered_model_alias(name, CHAMPION, str(number))
