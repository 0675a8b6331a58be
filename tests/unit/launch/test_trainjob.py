"""The life of a TrainJob against a small Kubernetes API over HTTP, through the real client."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linnet.errors import Stopped
from linnet.launch import job, trainjob
from linnet.launch.trainjob import TrainJobError
from support.kubernetes_api import KubernetesApi
from support.trainjobs import ARGUMENTS, IMAGE, KEY, NAME, S3, Files, completes, manifest_of, run


def at_once(*actions: Callable[[], object]) -> Callable[[], object]:
    return lambda: [action() for action in actions]


def test_it_is_created_followed_and_complete(api: KubernetesApi, capsys: pytest.CaptureFixture[str]) -> None:
    unplaced = {"status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}
    files = Files()
    api.steps = [
        lambda: None,
        lambda: api.start_pod(phase="Pending", status={"conditions": [unplaced]}),
        lambda: setattr(api.pods[0], "phase", "Running"),
        lambda: api.pods[0].write("step 1", '{"loss": 0.5}', "loss\t0.5\r"),
        lambda: None,
        lambda: api.pods[0].write("step 2", ""),
        lambda: api.start_pod(index=1).write("of another node"),
        at_once(
            lambda: api.pods[0].write("the end"),
            lambda: setattr(api.pods[0], "phase", "Succeeded"),
            lambda: api.end_job("Complete"),
        ),
    ]
    run(files=files)
    output, pods = capsys.readouterr(), api.pods
    title = f"TrainJob lab/{NAME}"
    assert output.err.removesuffix("\n").split("\n") == [
        f"{title}: created",
        "node 0: waiting for its pod",
        "node 1: waiting for its pod",
        "node 0: pending: Unschedulable: 0/3 nodes are available",
        f"node 0: running as pod {pods[0].name}",
        "step 1",
        '{"loss": 0.5}',
        "loss\t0.5\r",
        "step 2",
        "",
        f"node 1: running as pod {pods[1].name}",
        "the end",
        f"node 0: succeeded as pod {pods[0].name}",
        f"{title}: complete",
        f"{title}: removed, with the files that its nodes shared",
    ]
    assert output.out == ""
    assert api.count("POST trainjobs") == 1
    assert files.done == ["publish", "fetch", "remove"]
    assert len(api.deletions) == 1


def test_what_is_created_is_the_manifest(api: KubernetesApi) -> None:
    completes(api)
    api.steps[1:1] = [lambda: made.update(api.jobs[NAME])]
    made: dict[str, Any] = {}
    run()
    expected = manifest_of(S3)
    assert made["spec"]["trainer"] == expected["spec"]["trainer"]
    assert made["metadata"]["labels"] == expected["metadata"]["labels"]
    assert made["metadata"]["annotations"].items() > expected["metadata"]["annotations"].items()


def test_a_repeated_task_adopts_the_running_job(api: KubernetesApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.create(manifest_of(S3))
    completes(api)
    files = Files()
    run(files=files)
    assert api.count("POST trainjobs") == 0
    assert files.done == ["fetch", "remove"]  # nodes may be reading what was published
    assert "runs already; following it" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{}, {"image": IMAGE.replace("a", "b")}])
def test_a_complete_job_is_not_run_again(
    api: KubernetesApi, capsys: pytest.CaptureFixture[str], change: dict[str, Any]
) -> None:
    """Its name is the hash of its result, whatever it ran on."""
    api.create(manifest_of(S3 | change))
    api.end_job("Complete")
    files = Files()
    run(files=files)
    assert api.count("POST trainjobs") == 0
    assert files.done == ["fetch", "remove"]
    title = f"TrainJob lab/{NAME}"
    assert capsys.readouterr().err.splitlines() == [
        f"{title}: was complete already",
        f"{title}: removed, with the files that its nodes shared",
    ]


def test_losing_the_race_to_create_it_means_following(api: KubernetesApi) -> None:
    """A POST whose response got lost, or another task with the same key."""
    api.rival = manifest_of(S3)
    completes(api)
    run()
    assert api.count("POST trainjobs") == 1
    assert api.count("PATCH trainjobs") == 3  # adopted, to be fetched, to be removed


def fails(api: KubernetesApi) -> None:
    def end() -> None:
        api.start_pod().end(137, reason="OOMKilled")
        api.end_job("Failed", reason="ReachedMaxRestarts", message="reached max number of restarts")

    api.steps = [end]


def test_a_repeated_task_replaces_the_failed_job(api: KubernetesApi) -> None:
    fails(api)
    with pytest.raises(TrainJobError):
        run()
    uid = api.jobs[NAME]["metadata"]["uid"]
    api.looks_until_gone = 5
    completes(api)
    api.steps.insert(0, lambda: None)  # the look that finds it failed
    run()
    assert api.deletions[0] == {"propagationPolicy": "Foreground", "preconditions": {"uid": uid}}
    assert api.deletions[1]["preconditions"]["uid"] != uid
    assert len(api.deletions) == 2
    assert api.count("POST trainjobs") == 2


@pytest.mark.parametrize("change", [{"image": IMAGE.replace("a", "b")}, {"cpu": "32"}])
@pytest.mark.parametrize("ended", [None, "Failed"])
def test_other_settings_for_the_same_key_replace_the_job(
    api: KubernetesApi, capsys: pytest.CaptureFixture[str], change: dict[str, Any], ended: str | None
) -> None:
    api.create(manifest_of(S3 | change))
    if ended is not None:
        api.end_job(ended)
    api.steps = [lambda: None, lambda: api.end_job("Complete")]
    run()
    assert len(api.deletions) == 2
    assert api.count("POST trainjobs") == 1
    said = capsys.readouterr().err
    assert ("replacing it" if ended is None else "failed earlier") in said


def test_a_job_that_is_being_deleted_is_waited_for(api: KubernetesApi) -> None:
    api.create(manifest_of(S3))
    api.delete(NAME)
    completes(api)
    run()
    assert len(api.deletions) == 2
    assert api.count("POST trainjobs") == 1


def test_a_job_that_is_never_gone_is_given_up(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainjob, "CLEANUP_SECONDS", -119.9)
    api.create(manifest_of(S3))
    api.looks_until_gone = 1_000_000
    api.delete(NAME)
    with pytest.raises(TrainJobError, match=r"still there.*kubectl -n lab describe trainjob"):
        run()


def test_somebody_elses_job_is_not_touched(api: KubernetesApi) -> None:
    body = manifest_of(S3)
    body["metadata"]["labels"] = {"app.kubernetes.io/name": "other"}
    api.create(body)
    with pytest.raises(TrainJobError, match="is not linnet's"):
        run()
    assert api.calls == ["GET trainjobs"]


def test_a_job_deleted_by_somebody_else_is_claimed_anew(api: KubernetesApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.steps = [lambda: None, lambda: api.delete(NAME)]
    completes(api, after=2)
    files = Files()
    run(files=files)
    assert api.count("POST trainjobs") == 2
    assert files.done == ["publish", "publish", "fetch", "remove"]
    assert "was deleted by somebody else, and this task needs it; claiming it anew" in capsys.readouterr().err


def test_a_job_that_is_deleted_again_and_again_ends_the_task(api: KubernetesApi) -> None:
    api.looks_until_gone = 0
    api.steps = [lambda: api.delete(NAME)] * 100
    with pytest.raises(TrainJobError, match=r"was deleted 4 times while this task needed it; find out who"):
        run()
    assert api.count("POST trainjobs") == job.MAX_CLAIMS


def test_a_new_pod_goes_on_in_the_same_log(api: KubernetesApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.steps = [
        lambda: api.start_pod().write("step 1"),
        at_once(
            lambda: api.pods[0].write("out of memory"),
            lambda: setattr(api.pods[0], "phase", "Failed"),
            lambda: api.start_pod().write("step 1 again"),
        ),
        lambda: None,
        at_once(lambda: api.pods[1].write("step 2"), lambda: api.end_job("Complete")),
    ]
    run()
    lines = [line for line in capsys.readouterr().err.splitlines() if ": " not in line]
    assert lines == ["step 1", "out of memory", "step 1 again", "step 2"]
    assert api.count("GET pods/log") == 5  # the log of the pod that has ended is not read again


def test_a_log_that_cannot_be_read_is_no_reason_to_end(api: KubernetesApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.steps = [
        lambda: api.start_pod().write("step 1"),
        lambda: setattr(api.pods[0], "readable", False),
        lambda: api.pods[0].write("step 2"),
        lambda: setattr(api.pods[0], "readable", True),
        lambda: api.end_job("Complete"),
    ]
    run()
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("step")] == ["step 1", "step 2"]


@pytest.mark.parametrize("blips", [[503, 503, 500], [429, 401], [502, 504]])
def test_outages_are_waited_out(api: KubernetesApi, blips: list[int]) -> None:
    completes(api)
    api.steps[1:1] = [lambda: setattr(api, "blips", list(blips))]
    api.blips = [503]
    run()
    assert api.blips == []
    assert api.count("POST trainjobs") == 1
    assert len(api.deletions) == 1


def test_an_api_that_stays_away_is_given_up_and_the_job_not_left_alone(
    api: KubernetesApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "DELETE_ON_EXIT_SECONDS", 0.1)
    api.steps = [lambda: setattr(api, "blips", [503] * 1000)]
    with pytest.raises(TrainJobError, match=r"has not answered for 0 s \(503 Service Unavailable\)"):
        run(outage_seconds=0.2)
    assert f"kubectl -n lab delete trainjob {NAME}" in capsys.readouterr().err


def test_no_server_is_an_outage_too(api: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with KubernetesApi() as gone:
        monkeypatch.setenv("KUBECONFIG", str(gone.write_kubeconfig(tmp_path / "gone")))
    with pytest.raises(TrainJobError, match="has not answered"):
        run(outage_seconds=0.05)


@pytest.mark.parametrize("call", ["get trainjobs", "create trainjobs", "delete trainjobs", "list pods", "get pods/log"])
def test_missing_rights_name_the_file_that_gives_them(api: KubernetesApi, call: str) -> None:
    if call == "delete trainjobs":
        api.create(manifest_of(S3, num_nodes=3))
    completes(api)
    api.forbidden = {call}
    with pytest.raises(
        TrainJobError, match=r"deploy/kubernetes/base/rbac\.yaml.*cannot " + call.replace(" ", ' resource "')
    ):
        run()


def test_a_refusal_by_the_webhook_is_no_matter_of_rights(api: KubernetesApi) -> None:
    api.denial = "specified clusterTrainingRuntime must be created before the TrainJob is created"
    with pytest.raises(TrainJobError, match=r"refused the TrainJob.*must be created before") as caught:
        run()
    assert "rbac" not in str(caught.value)


def test_a_cluster_without_trainer_says_so(api: KubernetesApi) -> None:
    api.trainer_installed = False
    with pytest.raises(TrainJobError, match="Kubeflow Trainer v2 is not installed"):
        run()


def test_a_missing_namespace_is_named(api: KubernetesApi) -> None:
    api.namespace_exists = False
    with pytest.raises(TrainJobError, match="no namespace 'lab'"):
        run()


def test_without_a_cluster_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(TrainJobError, match=r"^no Kubernetes cluster to train on .*KUBECONFIG$"):
        run()


# --- signals ----------------------------------------------------------------------------------------------------------

PROGRAM = f"""
from linnet.launch import trainjob
trainjob.run(
    trainjob.TrainJobSettings.from_environment(),
    key={KEY!r},
    num_nodes=2,
    processes_per_node=8,
    arguments={ARGUMENTS!r},
    files=trainjob.SharedFiles(publish=lambda: None, fetch=lambda: None, remove=lambda: None),
    poll_seconds=0.05,
)
"""


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ended_by(api: KubernetesApi, number: signal.Signals, *, within_seconds: float | None = None) -> str:
    """Start a task, send it a signal while it follows its job, return its standard error."""
    environment = os.environ | {"LINNET_TRAINJOB": json.dumps(S3)}
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: api.count("LIST pods") >= 2)
        process.send_signal(number)
        if within_seconds is not None:
            asked = time.monotonic()
            wait_for(lambda: api.count("DELETE trainjobs") > 0)
            assert time.monotonic() - asked < within_seconds
        _, stderr = process.communicate(timeout=30)
    assert process.returncode != 0
    return stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_task_deletes_its_job(api: KubernetesApi, number: signal.Signals) -> None:
    """In less than the second that KFP gives it."""
    stderr = ended_by(api, number, within_seconds=1.0)
    assert [options["propagationPolicy"] for options in api.deletions] == ["Foreground"]
    assert f"TrainJob lab/{NAME}: deleted, because this task ends" in stderr
    assert f"Stopped: {number.name}" in stderr


def test_a_killed_task_leaves_its_job_to_the_repeated_one(api: KubernetesApi) -> None:
    ended_by(api, signal.SIGKILL)
    assert api.deletions == []
    api.steps = [lambda: api.end_job("Complete")]
    run()
    assert api.count("POST trainjobs") == 1


def test_signal_handlers_are_restored(api: KubernetesApi) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    with pytest.raises(Stopped) as caught:
        run()
    timer.join()
    assert caught.value.signal_number == signal.SIGTERM
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
