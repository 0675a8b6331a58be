"""Recipe values as text: of TOML for `linnet --set`, of Hydra's grammar for `dvc exp run -S`."""

from collections.abc import Iterator, Mapping
from typing import Any

import tomlkit


def toml_text(value: Any) -> str:
    """`value` as TOML on one line; tables become inline tables."""
    match value:
        case dict():
            return "{" + ", ".join(f"{key} = {toml_text(inner)}" for key, inner in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(toml_text, value)) + "]"
        case _:
            return str(tomlkit.item(value).as_string())


def hydra_text(value: Any) -> str:
    """`value` in the grammar of Hydra's overrides; texts are quoted, or else `1e3` would become a number."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return "'" + value.replace("'", r"\'") + "'"
        case list() | tuple():
            return "[" + ",".join(map(hydra_text, value)) + "]"
        case dict():
            return "{" + ",".join(f"{key}:{hydra_text(inner)}" for key, inner in value.items()) + "}"
        case _:
            raise AssertionError(f"no recipe holds {value!r}")


def changes(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Hydra's overrides that make `before` `after`: only what differs, key by key, because Hydra merges tables."""
    for key in before:
        if key not in after:
            yield f"~{prefix}{key}"
    for key, value in after.items():
        if isinstance(value, Mapping) and isinstance(before.get(key), Mapping):
            yield from changes(before[key], value, f"{prefix}{key}.")
        elif key not in before or before[key] != value:
            yield f"++{prefix}{key}={hydra_text(value)}"
