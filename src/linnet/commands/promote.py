"""champion: look at the versions of a registered model, and move the alias by hand, for a rollback say."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from linnet.errors import LinnetError
from linnet.stages.register import (
    CHALLENGER,
    CHAMPION,
    DECISION,
    KEPT,
    PROMOTED,
    REASON,
    registry_errors,
    version_with_alias,
)
from linnet.tracking.client import connect

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


class NoVersionError(LinnetError):
    """The registry has no such model or version."""


@dataclass(frozen=True)
class Version:
    """What people need to know to choose."""

    number: int
    alias: str  # "" for none
    score: str
    reason: str  # of the gate, or of whoever moved the alias


def versions(name: str) -> list[Version]:
    """All versions of `name`, newest first.

    Raises:
        NoVersionError: there is none.
        RegistryError: the registry does not answer.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise NoVersionError(f"{name!r} is no name of a model; it is [register] model_name of the recipe")
    with registry_errors(name):
        client = connect()
        found = client.search_model_versions(f"name = '{name}'")
        aliases: dict[int, str] = {}
        for alias in (CHALLENGER, CHAMPION):  # the second wins where one version has both
            if entry := version_with_alias(client, name, alias):
                aliases[int(entry.version)] = alias
    if not found:
        raise NoVersionError(f"the registry has no model '{name}'; its name is [register] model_name of the recipe")
    return [_row(entry, aliases) for entry in sorted(found, key=lambda entry: -int(entry.version))]


def _row(entry: "ModelVersion", aliases: dict[int, str]) -> Version:
    tags = entry.tags
    metric = tags.get("linnet.gate.metric", "")
    score = f"{metric} = {float(tags[f'linnet.score.{metric}']):.4g}" if f"linnet.score.{metric}" in tags else ""
    return Version(int(entry.version), aliases.get(int(entry.version), ""), score, tags.get(REASON, ""))


def move(name: str, number: int, reason: str) -> None:
    """Make version `number` the champion; marks the one it replaces, so that no repeat of `register` brings it back.

    Raises:
        NoVersionError: there is no such version.
        RegistryError: the registry does not answer.
    """
    known = [version.number for version in versions(name)]
    if number not in known:
        raise NoVersionError(f"{name} has no version {number}, only {', '.join(map(str, sorted(known)))}")
    with registry_errors(name):
        client = connect()
        before = version_with_alias(client, name, CHAMPION)
        if before is not None and int(before.version) != number:
            words = f"replaced by version {number} by hand: {reason}"
            client.set_model_version_tag(name, before.version, REASON, words)
            client.set_model_version_tag(name, before.version, DECISION, KEPT)
        client.set_model_version_tag(name, str(number), REASON, f"by hand: {reason}")
        client.set_model_version_tag(name, str(number), DECISION, PROMOTED)
        client.set_registered_model_alias(name, CHAMPION, str(number))
