"""promote: list the versions of a registered model, and move the champion by hand, for a rollback say."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from linnet.errors import LinnetError
from linnet.registry.versions import (
    CHALLENGER,
    CHAMPION,
    REASON,
    all_versions,
    open_registry,
    promote,
    version_with_alias,
)

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


class NoVersionError(LinnetError):
    """The registry has no such model or version."""


class NoReasonError(LinnetError):
    """The champion was to be moved by hand, and nobody said why."""


@dataclass(frozen=True)
class Version:
    """What people need to know to choose."""

    number: int
    alias: str  # "" for none
    score: str
    reason: str  # of the gate, or of whoever moved the alias


def list_versions(name: str) -> list[Version]:
    """All versions of `name`, newest first.

    Raises:
        NoVersionError: there is none.
        RegistryError: the registry does not answer.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise NoVersionError(f"{name!r} is no name of a model; it is [register] model_name of the recipe")
    with open_registry(name) as client:
        found = all_versions(client, name)
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


def run(name: str, number: int, reason: str) -> None:
    """Make version `number` the champion; no repeat of `register` brings back the one it replaces.

    Raises:
        NoReasonError: `reason` is empty.
        NoVersionError: there is no such version.
        RegistryError: the registry does not answer.
    """
    if not reason:
        raise NoReasonError("--version needs --reason: those who come after you will want to know why")
    known = [version.number for version in list_versions(name)]
    if number not in known:
        raise NoVersionError(f"{name} has no version {number}, only {', '.join(map(str, sorted(known)))}")
    with open_registry(name) as client:
        promote(client, name, number, reason)
