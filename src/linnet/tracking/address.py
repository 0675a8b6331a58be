"""Where MLflow is: the address of its server or database, and the file of a local store."""

import os
import re
from pathlib import Path

from linnet.errors import redact_credentials


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or the embedded default: a SQLite file in the working folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def display_uri() -> str:
    """The tracking URI as it may be printed: without user and password."""
    return redact_credentials(tracking_uri())


def local_database(uri: str) -> Path | None:
    """The absolute path of the SQLite file that `uri` names; None for anything else."""
    found = re.fullmatch(r"sqlite(?:\+\w+)?:///([^?]+)(?:\?.*)?", uri)
    if found is None or found[1] == ":memory:" or found[1].startswith("file:"):
        return None
    return Path(found[1]).absolute()


def artifacts_folder() -> Path:
    """Where a local store keeps its artifacts: LINNET_MLFLOW_ARTIFACTS, or mlartifacts/ in the working folder."""
    return Path(os.environ.get("LINNET_MLFLOW_ARTIFACTS") or "mlartifacts").absolute()
