"""What `make test-cluster` builds on: reading a run from outside, and harming its pods, against servers in memory."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines import connection as to
from pipelines import submit
from pipelines.clusters.profile import load_cluster
from support import cluster_site
from support.cluster_api import ClusterApi, running_cluster
from support.cluster_runs import (
    EAT_MEMORY,
    Pods,
    artifact_address,
    executed_by_details,
    executed_by_pods,
    output_uri,
    task_of,
    wait_for,
    was_killed_for_memory,
)
from support.cluster_site import Site
from support.kfp_api import IMAGE, KfpApi, running_kfp_api, use_test_environment

LAYERS = "training-x7k(0).root(0).exit-handler-1(0)"


def pod(name: str, path: str, *, phase: str = "Running", run: str = "run-1", **more: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "labels": {"pipeline/runid": run} | more.get("labels", {}),
            "annotations": {"workflows.argoproj.io/node-name": path},
            "creationTimestamp": more.get("created", "2026-01-01T00:00:00Z"),
        },
        "spec": {"containers": [{"name": "wait"}, {"name": "main", "env": more.get("env", [])}]},
        "status": {"phase": phase},
    }


def pods_of(*tasks: str) -> list[dict[str, Any]]:
    """A driver for each task, and an executor."""
    drivers = [pod(f"{task}-driver", f"{LAYERS}.{task}-driver(0)", phase="Succeeded") for task in tasks]
    return drivers + [pod(task, f"{LAYERS}.{task}(0).executor(0)") for task in tasks]


@pytest.fixture
def kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClusterApi]:
    with running_cluster() as running:
        path = running.write_kubeconfig(tmp_path / "kubeconfig")
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        yield running


@pytest.fixture
def kfp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpApi]:
    use_test_environment(monkeypatch, tmp_path)
    monkeypatch.setattr(submit, "SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr(cluster_site, "PAUSE_SECONDS", 0.01)
    with running_kfp_api() as server:
        yield server


@pytest.fixture
def site(kfp: KfpApi, kubernetes: ClusterApi, tmp_path: Path) -> Iterator[Site]:
    connection = to.read_connection(kfp.url, "", "linnet-cluster-test", to.TOKEN_VARIABLE)
    with to.compiled(IMAGE, "cpu-small") as package, to.connected(connection) as client:
        yield Site(load_cluster("cpu-small"), package, connection, client, tmp_path)


def test_waiting_ends_with_what_is_found_or_says_for_what() -> None:
    found = iter([None, "", "here"])
    assert wait_for(lambda: next(found), "it", seconds=5, pause_seconds=0) == "here"
    with pytest.raises(AssertionError, match="waited 0 s for a pod of train"):
        wait_for(lambda: None, "a pod of train", seconds=0)


@pytest.mark.parametrize(
    ("path", "task"),
    [
        (f"{LAYERS}.look(0).executor(0)", "look"),
        ("training-x7k.root.exit-handler-1.condition-2.train.executor", "train"),
        (f"{LAYERS}.train(2).executor(1)", "train"),
        ("training-x7k.onExit(0).close(0).executor(0)", "close"),
        (f"{LAYERS}.train-driver(0)", None),
        ("training-x7k.root-driver", None),
        ("", None),
    ],
)
def test_the_task_of_a_pod_is_read_from_its_way_through_the_dag(path: str, task: str | None) -> None:
    assert task_of(pod("any", path)) == task


def test_pods_without_annotations_are_nobodys() -> None:
    assert task_of({"metadata": {"name": "x", "annotations": None}}) is None


def test_a_cached_task_has_only_its_driver() -> None:
    found = [*pods_of("look", "gate"), pod("train-driver", f"{LAYERS}.train-driver(0)", phase="Succeeded")]
    assert executed_by_pods(found) == {"look", "gate"}


def test_details_tell_the_same_to_those_who_see_no_pods() -> None:
    def node(name: str, state: str, identifier: str, *children: str) -> SimpleNamespace:
        below = [SimpleNamespace(pod_name=child) for child in children] or None
        return SimpleNamespace(display_name=name, state=state, pod_name=identifier, child_tasks=below)

    details = [
        node("root", "SUCCEEDED", "r", "l", "i", "t"),
        node("look", "SUCCEEDED", "l", "le"),
        node("executor(0)", "SUCCEEDED", "le"),
        node("ingest", "SUCCEEDED", "i", "ie"),
        node("executor", "SKIPPED", "ie"),
        node("train", "FAILED", "t", "t0"),
        node("train(0)", "FAILED", "t0", "te"),
        node("executor(0)", "FAILED", "te"),
        node("gate", "SUCCEEDED", "g", "gone"),
    ]
    assert executed_by_details(details, ["look", "ingest", "train", "gate"]) == {"look", "train"}


def test_where_an_artifact_is_is_read_from_the_launchers_arguments() -> None:
    made = pod("close", f"{LAYERS}.close(0).executor(0)")
    assert output_uri(made, "outcome") is None
    outputs = {"artifacts": {"outcome": {"artifacts": [{"uri": "minio://mlpipeline/v2/close/outcome"}]}}}
    made["spec"]["containers"][1]["args"] = ["--executor_input", json.dumps({"inputs": {}, "outputs": outputs})]
    assert output_uri(made, "outcome") == "minio://mlpipeline/v2/close/outcome"
    assert output_uri(made, "page") is None
    address = artifact_address("http://127.0.0.1:8080/", "minio://mlpipeline/v2/close/outcome", "kubeflow")
    assert address == (
        "http://127.0.0.1:8080/artifacts/get?source=minio&namespace=kubeflow&bucket=mlpipeline&key=v2%2Fclose%2Foutcome"
    )


def test_pods_are_those_of_one_run(kubernetes: ClusterApi) -> None:
    kubernetes.pods = [*pods_of("look"), pod("other", f"{LAYERS}.look(0).executor(0)", run="run-2")]
    assert {each["metadata"]["name"] for each in Pods("linnet").of_run("run-1")} == {"look", "look-driver"}


def test_a_node_is_found_by_its_index_and_its_run(kubernetes: ClusterApi) -> None:
    def node(name: str, index: int, run: str, **more: Any) -> dict[str, Any]:
        labels = {"linnet/training-key": "k", "batch.kubernetes.io/job-completion-index": str(index)}
        env = [{"name": "LINNET_PIPELINE_RUN", "value": run}]
        return pod(name, "", labels=labels, env=env, run="", **more)

    kubernetes.pods = [
        node("others", 1, "run-2"),
        node("zero", 0, "run-1"),
        node("dead", 1, "run-1", phase="Failed"),
        node("one", 1, "run-1"),
    ]
    found = Pods("linnet").node("run-1", 1)
    assert found is not None
    assert found["metadata"]["name"] == "one"
    assert Pods("linnet").node("run-1", 2) is None


HARMS: dict[str, tuple[Callable[[Pods, dict[str, Any]], None], str, dict[str, Any]]] = {
    "deleted": (lambda pods, it: pods.delete(it), "DELETE /api/v1/namespaces/linnet/pods/look", {}),
    "lost": (
        lambda pods, it: pods.delete(it, at_once=True),
        "DELETE /api/v1/namespaces/linnet/pods/look?gracePeriodSeconds=0",
        {},
    ),
    "evicted": (
        lambda pods, it: pods.evict(it),
        "POST /api/v1/namespaces/linnet/pods/look/eviction",
        {"metadata": {"name": "look", "namespace": "linnet"}},
    ),
}


@pytest.mark.parametrize("harm", HARMS)
def test_harm_is_what_it_says(kubernetes: ClusterApi, harm: str) -> None:
    do, request, body = HARMS[harm]
    kubernetes.pods = pods_of("look")
    victim = kubernetes.pods[-1]
    do(Pods("linnet"), victim)
    assert kubernetes.requests == [request]
    assert kubernetes.bodies == [body]
    with pytest.raises(Pods.Gone):
        do(Pods("linnet"), victim)


def test_memory_is_really_eaten() -> None:
    """Touched, not only reserved: the kernel kills for pages in use."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))

    command = [sys.executable, "-c", EAT_MEMORY]
    done = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=False, timeout=60)
    assert "MemoryError" in done.stderr


@pytest.mark.parametrize(
    ("status", "killed"),
    [
        ({"state": {"terminated": {"reason": "OOMKilled"}}}, True),
        ({"state": {"running": {}}, "lastState": {"terminated": {"reason": "OOMKilled"}}}, True),
        ({"state": {"terminated": {"reason": "Error"}}}, False),
        ({"state": {"running": {}}}, False),
    ],
)
def test_whether_memory_killed_it(status: dict[str, Any], killed: bool) -> None:
    assert was_killed_for_memory({"status": {"containerStatuses": [status]}}) is killed
    assert was_killed_for_memory(None)


# --- a site -----------------------------------------------------------------------------------------------------------


def test_runs_are_submitted_with_names_of_their_own(site: Site, kfp: KfpApi) -> None:
    first = site.submit("first", caching=False)
    site.submit("second", num_nodes=2, only_if_changed=True)
    parameters = [run["runtime_config"]["parameters"] for run in kfp.runs]
    assert f'model_name = "{site.model("first")}"' in parameters[0]["recipe"]
    assert site.model("first") != site.model("second")
    assert (parameters[1]["num_nodes"], parameters[1]["only_if_changed"]) == (2, True)
    cached = ["'enableCache': True" in str(run["pipeline_spec"]) for run in kfp.runs]
    assert cached == [False, True]
    assert site.end_of(first) == "SUCCEEDED"


def test_executed_tasks_are_read_from_pods_or_else_from_details(
    site: Site, kfp: KfpApi, kubernetes: ClusterApi
) -> None:
    run_id = site.submit("any")
    kubernetes.pods = [pod("look", f"{LAYERS}.look(0).executor(0)", run=run_id)]
    assert site.executed(run_id) == {"look"}
    kubernetes.forbidden.add("/api/v1/namespaces/linnet/pods")
    kfp.task_details = [
        {"display_name": "train", "state": "SUCCEEDED", "pod_name": "t", "child_tasks": [{"pod_name": "e"}]},
        {"display_name": "executor", "state": "SUCCEEDED", "pod_name": "e"},
    ]
    assert site.executed(run_id) == {"train"}


def test_one_pod_of_each_task_is_harmed(site: Site, kfp: KfpApi, kubernetes: ClusterApi) -> None:
    run_id = site.submit("any")
    kfp.run_states = ["RUNNING"]
    kubernetes.pods = [{**each} for each in pods_of("look", "train", "gate")]
    for each in kubernetes.pods:
        each["metadata"]["labels"]["pipeline/runid"] = run_id
    assert site.disturb(run_id, ["look", "train"], site.pods.delete) == {"look": "look", "train": "train"}
    left = {each["metadata"]["name"] for each in kubernetes.pods}
    assert left == {"look-driver", "train-driver", "gate-driver", "gate"}


def test_a_run_that_ends_undisturbed_is_told(site: Site) -> None:
    run_id = site.submit("any")
    with pytest.raises(AssertionError, match=r"ended before pods of \['train'\]"):
        site.disturb(run_id, ["train"], site.pods.delete)


def test_a_retried_run_is_waited_for(site: Site, kfp: KfpApi) -> None:
    run_id = site.submit("any")
    kfp.run_states = ["FAILED"]
    assert site.end_of(run_id) == "FAILED"
    site.retry(run_id)
    assert site.end_of(run_id) == "SUCCEEDED"


def test_what_was_made_is_removed(site: Site, kfp: KfpApi) -> None:
    site.submit("ended")
    site.submit("running")
    kfp.run_states = ["SUCCEEDED", "RUNNING"]
    site.remove_runs()
    assert kfp.runs == []
    assert [request for request in kfp.changes if request.endswith(":terminate")] == [
        "POST /apis/v2beta1/runs/run-3:terminate"
    ]
