"""An MLflow run of a pipeline run, in a store of the test's own."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from linnet.tracking.client import RUN_KEY, connect, experiment_id
from support.pipeline_runs import OURS

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.fixture
def client(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> "MlflowClient":
    """As the pipeline run OURS has it."""
    monkeypatch.setenv("LINNET_PIPELINE_RUN", OURS)
    return connect()


@pytest.fixture
def run_id(client: "MlflowClient") -> str:
    """A run that nobody uses yet."""
    made = client.create_run(experiment_id(client), tags={RUN_KEY: "k"})
    return str(made.info.run_id)
