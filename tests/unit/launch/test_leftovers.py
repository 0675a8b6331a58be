"""What nobody came back for is removed by its age: TrainJobs that ended, and the files that their nodes shared."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from linnet.launch.cluster import Cluster
from linnet.launch.leases import LEASE, now_text
from linnet.launch.leftovers import remove_ended
from linnet.tasks import nodes
from support.kubernetes_api import KubernetesApi
from support.trainjobs import NAME, S3, manifest_of, settings_of

DAY = 24 * 3600.0


def days_ago(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def make_job(
    api: KubernetesApi, name: str, *, ended: str | None = None, leased: bool = False, ours: bool = True
) -> None:
    body = manifest_of(S3)
    body["metadata"]["name"] = name
    if leased:
        body["metadata"]["annotations"][LEASE + "run-7"] = now_text()
    if not ours:
        body["metadata"]["labels"] = {"app.kubernetes.io/name": "other"}
    api.create(body)
    if ended:
        others = {other: job.get("status") for other, job in api.jobs.items() if other != name}
        api.end_job("Failed", at=ended)
        for other, status in others.items():
            api.jobs[other]["status"] = status or {}


def remaining(api: KubernetesApi) -> set[str]:
    return {name for name, job in api.jobs.items() if "deletionTimestamp" not in job["metadata"]}


def test_only_old_ended_unneeded_jobs_of_linnet_are_removed(api: KubernetesApi) -> None:
    make_job(api, "old", ended=days_ago(20))
    make_job(api, "recent", ended=days_ago(3))
    make_job(api, "running")
    make_job(api, "needed", ended=days_ago(20), leased=True)
    make_job(api, "of-others", ended=days_ago(20), ours=False)
    staying = remove_ended(Cluster("lab", outage_seconds=0), older_than_seconds=14 * DAY)
    assert remaining(api) == {"recent", "running", "needed", "of-others"}
    assert staying == {"recent", "running", "needed"}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Shared folders: of a job that waits in a queue, of none, young, our own."""
    for key, days in (("queued", 20), ("lost", 20), ("young", 3), ("own", 20)):
        folder = tmp_path / "work" / f"nodes-{key}"
        folder.mkdir(parents=True)
        (folder / "recipe.json").write_text("{}")
        for path in (folder / "recipe.json", folder):
            os.utime(path, (time.time() - days * DAY,) * 2)
    return tmp_path / "work"


def test_folders_without_a_job_are_removed_by_age(
    api: KubernetesApi, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_job(api, "linnet-train-queued")
    nodes.remove_leftovers(settings_of(S3), str(work), own="linnet-train-own")
    assert {path.name for path in work.iterdir()} == {"nodes-queued", "nodes-young", "nodes-own"}
    assert "nodes-lost: nothing changed there for 20 days, removed" in capsys.readouterr().err


@pytest.mark.parametrize("blip", [503, 403])
def test_what_cannot_be_removed_hinders_nobody(
    api: KubernetesApi, work: Path, capsys: pytest.CaptureFixture[str], blip: int
) -> None:
    api.blips = [blip]
    nodes.remove_leftovers(settings_of(S3), str(work), own=NAME)
    assert len(list(work.iterdir())) == 4
    assert "what earlier trainings left was not removed" in capsys.readouterr().err
