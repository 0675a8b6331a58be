"""Recipes written for an earlier linnet: what its names and its silence mean today."""

from typing import Any

KINDS = {"caltech_birds": "images", "sound": "audio"}  # of data, by which such a recipe is known


def bring_up_to_date(values: dict[str, Any]) -> list[str]:
    """Change the values of a recipe of the first format into what they mean; others stay as they are.

    Returns:
        The lines of the recipe that now stand for it, empty where nothing changed.
    """
    kind = _table(values, "data").get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        return []
    lines: list[str] = []
    for section, key, value in _meaning(kind, values):
        table = _table(values, *section.split("."))
        if table and (key == "kind" or key not in table):
            table[key] = value
            lines.append(f"{section}.{key} = {value!r}")
    restore = _table(values, "restore")
    if "tasks" in restore and "degradations" not in restore:
        restore["degradations"] = restore.pop("tasks")
        lines.append("restore.degradations instead of restore.tasks")
    return lines


def _meaning(kind: str, values: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """(section, key, value): what that format said otherwise, or did not have to say."""
    found: list[tuple[str, str, Any]] = [("data", "kind", KINDS[kind])]
    if KINDS[kind] == "images":
        found.append(("data", "layout", {"kind": "caltech"}))
    if _table(values, "model").get("kind") == "dit":
        found.append(("model", "patch_overlap", 0))
    found.append(("train", "learning_rate_decay", "none"))
    found += [(section, "spacing", "trailing") for section in ("sample.sampler", "restore")]
    return found


def _table(values: dict[str, Any], *path: str) -> dict[str, Any]:
    """The table at a path, an empty one where there is none: the schema says what is missing."""
    table: Any = values
    for name in path:
        table = table.get(name) if isinstance(table, dict) else None
    return table if isinstance(table, dict) else {}
