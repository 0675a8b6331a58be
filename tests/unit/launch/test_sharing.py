"""Pipeline runs that need the same result share one TrainJob: each holds a lease, and the last one removes the job."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linnet.errors import Stopped
from linnet.launch import leases
from linnet.launch.leases import LEASE, REMOVING
from linnet.launch.trainjob import TrainJobError
from support.kubernetes_api import KubernetesApi
from support.trainjobs import ARGUMENTS, IMAGE, KEY, NAME, S3, Files, completes, manifest_of, run


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="seconds")


def job_of(**holders: float) -> dict[str, Any]:
    """A job with leases that are so many seconds old."""
    body = manifest_of(S3)
    body["metadata"]["annotations"] |= {LEASE + name.replace("_", "-"): ago(age) for name, age in holders.items()}
    return body


def held_by(api: KubernetesApi) -> set[str]:
    return {name.removeprefix(LEASE) for name in api.jobs[NAME]["metadata"]["annotations"] if name.startswith(LEASE)}


def stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_the_run_that_made_a_job_holds_a_lease_on_it(api: KubernetesApi) -> None:
    held: list[set[str]] = []
    api.steps = [lambda: held.append(held_by(api)), lambda: api.end_job("Complete")]
    run()
    assert held == [{"run-1"}]


def test_a_follower_that_is_stopped_leaves_the_job_to_its_owner(
    api: KubernetesApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.create(job_of(run_0=10))
    api.steps = [lambda: None, stop]
    with pytest.raises(Stopped):
        run()
    assert api.deletions == []
    assert held_by(api) == {"run-0"}
    assert f"TrainJob lab/{NAME}: stays for pipeline run run-0" in capsys.readouterr().err


def test_an_owner_that_is_stopped_leaves_the_job_to_its_followers(api: KubernetesApi) -> None:
    def follow() -> None:
        api.patch(NAME, {"metadata": {"annotations": {LEASE + "run-2": ago(0)}}})

    api.steps = [follow, stop]
    with pytest.raises(Stopped):
        run()
    assert api.deletions == []
    assert held_by(api) == {"run-2"}


def test_the_last_run_that_is_stopped_deletes_the_job(api: KubernetesApi) -> None:
    api.create(job_of(run_0=leases.FRESH_SECONDS + 10))  # killed some minutes ago
    api.steps = [lambda: None, stop]
    with pytest.raises(Stopped):
        run()
    assert len(api.deletions) == 1


def test_a_stopped_task_needs_one_call(api: KubernetesApi) -> None:
    """KFP gives it a fraction of a second."""
    seen: list[int] = []

    def count_and_stop() -> None:
        seen.append(len(api.calls))
        stop()

    api.steps = [lambda: None, count_and_stop]
    with pytest.raises(Stopped):
        run()
    after = [call for call in api.calls[seen[0] :] if "pods" not in call]
    assert after == ["DELETE trainjobs"]


def test_a_lease_that_comes_while_the_job_is_being_deleted_keeps_it(api: KubernetesApi) -> None:
    """The version of the job is part of the deletion, so nobody's lease is overlooked."""

    def follow_unseen() -> None:
        stop()  # what this task has seen of the job is older than the lease

        def follow() -> None:
            api.patch(NAME, {"metadata": {"annotations": {LEASE + "run-2": ago(0)}}})

        api.before = {"DELETE trainjobs": follow}

    api.steps = [lambda: None, follow_unseen]
    with pytest.raises(Stopped):
        run()
    assert api.deletions == []
    assert held_by(api) == {"run-2"}


def test_two_runs_that_end_at_once_leave_no_job(api: KubernetesApi) -> None:
    """Each saw the other's lease; the version decides who was first, and the second one deletes."""
    api.create(job_of(run_0=10))

    def end_too() -> None:
        api.patch(NAME, {"metadata": {"annotations": {LEASE + "run-0": None}}})

    def stop_both() -> None:
        stop()
        api.before = {"PATCH trainjobs": end_too}

    api.steps = [lambda: None, stop_both]
    with pytest.raises(Stopped):
        run()
    assert len(api.deletions) == 1


def test_leases_are_refreshed(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linnet.launch.job.REFRESH_SECONDS", 0.0)
    api.create(job_of(run_1=200))
    times: list[float] = []

    def look() -> None:
        times.append(leases.age_seconds(api.jobs[NAME]["metadata"]["annotations"][LEASE + "run-1"]))

    api.steps = [look, look, look, lambda: api.end_job("Complete")]
    run()
    assert times[0] > 190
    assert max(times[1:]) < 10
    assert api.count("PATCH trainjobs") >= 4


def test_files_stay_until_the_last_run_has_fetched_them(api: KubernetesApi) -> None:
    api.create(job_of(run_0=10))
    completes(api)
    files = Files()
    run(files=files)
    assert files.done == ["fetch"]
    assert api.deletions == []
    assert held_by(api) == {"run-0"}
    api.patch(NAME, {"metadata": {"annotations": {LEASE + "run-0": None}}})
    run(files=files)
    assert files.done == ["fetch", "fetch", "remove"]
    assert len(api.deletions) == 1


def test_another_runs_job_with_another_image_is_followed_and_not_replaced(
    api: KubernetesApi, capsys: pytest.CaptureFixture[str]
) -> None:
    body = manifest_of(S3 | {"image": IMAGE.replace("a", "b")})
    body["metadata"]["annotations"][LEASE + "run-0"] = ago(10)
    api.create(body)
    completes(api)
    run()
    assert api.count("POST trainjobs") == 0
    assert api.deletions == []
    said = capsys.readouterr().err
    assert "runs already for pipeline run run-0, with another image, size or settings; following it" in said


def test_a_run_that_comes_while_files_are_removed_waits_and_makes_them_anew(api: KubernetesApi) -> None:
    body = job_of(run_0=1)
    body["metadata"]["annotations"][REMOVING] = ago(1)
    api.create(body)
    api.end_job("Complete")
    api.looks_until_gone = 0
    api.steps = [lambda: None, lambda: None, lambda: api.delete(NAME), lambda: api.end_job("Complete")]
    files = Files()
    run(files=files)
    assert files.done == ["publish", "fetch", "remove"]
    assert api.count("POST trainjobs") == 1


@pytest.mark.parametrize(("who", "age"), [("run_0", leases.FRESH_SECONDS + 10), ("run_1", 1)])
def test_a_removal_that_was_killed_is_finished_first(api: KubernetesApi, who: str, age: float) -> None:
    """By whoever comes next, after some minutes; by the same run at once."""
    body = job_of(**{who: age})
    body["metadata"]["annotations"][REMOVING] = ago(age)
    api.create(body)
    api.end_job("Complete")
    api.looks_until_gone = 0
    api.steps = [lambda: None, lambda: api.end_job("Complete")]
    files = Files()
    run(files=files)
    assert files.done == ["remove", "publish", "fetch", "remove"]
    assert api.count("POST trainjobs") == 1


def test_files_that_cannot_be_removed_are_no_failure(api: KubernetesApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.forbidden = {"patch trainjobs"}
    completes(api)
    files = Files()
    run(files=files)
    assert files.done == ["publish", "fetch"]
    said = capsys.readouterr().err
    assert "its files could not be removed" in said
    assert "deploy/kubernetes/base/rbac.yaml" in said


def test_a_complete_job_stays_for_a_repeated_task_that_only_has_to_fetch(api: KubernetesApi) -> None:
    def refuse() -> None:
        raise TrainJobError("no room")

    completes(api)
    files = Files()
    with pytest.raises(TrainJobError, match="no room"):
        run(files=Files(fetch=refuse))
    assert api.deletions == []
    run(files=files)
    assert files.done == ["fetch", "remove"]


@pytest.mark.parametrize(
    ("given", "name"), [("3c1f-4a", "3c1f-4a"), ("a b/c", "a-b-c"), ("-" + "x" * 80, "x" * 62), ("", "this-machine")]
)
def test_a_holder_is_a_valid_name(monkeypatch: pytest.MonkeyPatch, given: str, name: str) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "this-machine")
    monkeypatch.setenv("LINNET_PIPELINE_RUN", given)
    assert leases.holder() == name


# --- a waiting task that is killed ------------------------------------------------------------------------------------

WAIT = f"""
import os, sys
from pathlib import Path
from linnet.files import copy_folder, new_folder
from linnet.launch import trainjob
from linnet import storage

dataset, shared, out = (Path(sys.argv[1]) / name for name in ("dataset", "shared", "out"))

def copy(source, target):
    if not target.exists():
        with new_folder(target) as folder:
            copy_folder(source, folder)

trainjob.run(
    trainjob.TrainJobSettings.from_environment(), key={KEY!r}, num_nodes=2, processes_per_node=8,
    arguments={ARGUMENTS!r}, poll_seconds=0.02,
    files=trainjob.SharedFiles(
        publish=lambda: copy(dataset, shared / "dataset"),
        fetch=lambda: copy(shared / "model", out),
        remove=lambda: storage.remove(str(shared)),
    ),
)
"""


class Trainer:
    """The nodes of the job: while it is there and allowed to end, they turn the dataset into the model, in a thread."""

    def __init__(self, api: KubernetesApi, folder: Path) -> None:
        self._api, self._folder = api, folder
        self.may_end = threading.Event()
        self.uids: set[str] = set()
        api.steps = [self.look] * 100_000

    def look(self) -> None:
        job = self._api.jobs[NAME]
        self.uids.add(job["metadata"]["uid"])
        if self.may_end.is_set() and "status" not in job:
            model = self._folder / "shared" / "model"
            model.mkdir()
            (model / "weights").write_bytes((self._folder / "shared" / "dataset" / "examples").read_bytes()[::-1])
            self._api.end_job("Complete")


def test_a_task_that_is_killed_at_ten_moments_leaves_one_job_and_the_same_bits(
    api: KubernetesApi, tmp_path: Path
) -> None:
    examples = np.random.default_rng(0).bytes(100_000)
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "examples").write_bytes(examples)
    trainer = Trainer(api, tmp_path)
    environment = os.environ | {"LINNET_TRAINJOB": json.dumps(S3)}
    command = [sys.executable, "-c", WAIT, str(tmp_path)]
    moments = np.random.default_rng(1)
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import linnet.launch.trainjob, kubernetes.client"], check=True)
    imports = time.monotonic() - began
    for _ in range(10):
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
            time.sleep(moments.uniform(0.5, 1.5) * imports)
            process.kill()
    assert api.deletions == []
    trainer.may_end.set()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "weights").read_bytes() == examples[::-1]
    assert len(trainer.uids) == 1
    assert len(api.deletions) == 1
    assert not (tmp_path / "shared").exists()
