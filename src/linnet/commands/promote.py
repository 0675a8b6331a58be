"""promote: list the versions of a registered model, and move the champion by hand, for a rollback say."""

import re

from linnet.errors import LinnetError
from linnet.registry.versions import Version, open_registry, promote, summaries


class NoVersionError(LinnetError):
    """The registry has no such model or version."""


class NoReasonError(LinnetError):
    """The champion was to be moved by hand, and nobody said why."""


def list_versions(name: str) -> list[Version]:
    """All versions of `name`, newest first.

    Raises:
        NoVersionError: there is none.
        RegistryError: the registry does not answer.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise NoVersionError(f"{name!r} is no name of a model; it is [register] model_name of the recipe")
    with open_registry(name) as client:
        found = summaries(client, name)
    if not found:
        raise NoVersionError(f"the registry has no model '{name}'; its name is [register] model_name of the recipe")
    return found


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
