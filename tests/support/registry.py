"""A real registry (SQLite) with versions that hold nothing but their tags."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

NAME = "linnet-birds-tiny"


def add_version(client: "MlflowClient", tags: dict[str, str], *aliases: str) -> int:
    if not client.search_registered_models(f"name = '{NAME}'"):
        client.create_registered_model(NAME)
    version = client.create_model_version(NAME, Path.cwd().as_uri(), tags=tags)
    for alias in aliases:
        client.set_registered_model_alias(NAME, alias, version.version)
    return int(version.version)
