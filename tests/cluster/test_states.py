"""How runs end: terminated, failed, succeeded; what MLflow and the run's page say of it."""

import os

import pytest
import requests

from pipelines.connection import UI_VARIABLE
from support.cluster_runs import artifact_address, output_uri, wait_for
from support.cluster_site import POD_SECONDS, Mlflow, Site

pytestmark = pytest.mark.cluster

LONG = ("train.duration_kexamples=400", "train.grid_every_kexamples=200")  # a hundred thousand steps


def test_a_terminated_run_is_killed_in_mlflow(site: Site, mlflow: Mlflow) -> None:
    run_id = site.submit("terminated", *LONG, caching=False)
    wait_for(lambda: mlflow.statuses(run_id) == ["RUNNING"], "a training in MLflow", seconds=POD_SECONDS)
    site.client.terminate_run(run_id)
    assert site.end_of(run_id) in ("FAILED", "CANCELED")
    wait_for(lambda: mlflow.statuses(run_id) == ["KILLED"], "the run in MLflow to be KILLED", seconds=600)


def test_a_finished_run_is_finished_in_mlflow(undisturbed: str, mlflow: Mlflow) -> None:
    assert mlflow.statuses(undisturbed) == ["FINISHED"]


def test_a_failed_run_says_why(site: Site) -> None:
    run_id = site.submit_text("birds-demo", "failed", overrides="train.sede=1")
    assert site.end_of(run_id) == "FAILED"
    assert site.executed(run_id) == {"look", "close"}
    said = " ".join(line.removeprefix("error: ") for line in site.pods.log(site.pod_of(run_id, "look")).splitlines())
    assert "linnet look: " in said
    assert "did you mean 'seed'?" in said
    page = _outcome(site, run_id)
    assert page.startswith("# The run failed in look")
    assert "did you mean 'seed'?" in page


def test_a_run_that_succeeded_shows_its_outcome(site: Site, undisturbed: str) -> None:
    page = _outcome(site, undisturbed)
    assert not page.startswith("# The run failed")
    assert "MLflow run" in page


def _outcome(site: Site, run_id: str) -> str:
    """The artifact of `close`, from where Kubeflow's page takes it."""
    uri = output_uri(site.pod_of(run_id, "close"), "outcome")
    assert uri is not None
    endpoint = os.environ.get(UI_VARIABLE, "")
    if not endpoint:
        pytest.skip(f"the artifact is at {uri}; its content is read through {UI_VARIABLE}, which is not set")
    answer = requests.get(artifact_address(endpoint, uri, site.profile.namespace), timeout=30)
    answer.raise_for_status()
    return answer.text
