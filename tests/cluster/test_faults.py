"""Pods that are deleted, evicted, killed for their memory, or lost: the run ends in the bits of an undisturbed one."""

from collections.abc import Callable
from typing import Any

import pytest

from pipelines.cluster_check.engines import ARGO_CONFIG, retry_default
from pipelines.cluster_check.kubernetes_api import KubernetesApi
from support.cluster_runs import Pods, wait_for
from support.cluster_site import POD_SECONDS, TASKS, Mlflow, Site

pytestmark = pytest.mark.cluster

HARMS: dict[str, Callable[[Pods, dict[str, Any]], object]] = {
    "deleted": lambda pods, pod: pods.delete(pod),
    "evicted": lambda pods, pod: pods.evict(pod),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_pod_of_each_task_is_lost_once(site: Site, mlflow: Mlflow, undisturbed: str, harm: str) -> None:
    assert undisturbed
    pods = site.pods
    run_id = site.submit(harm, caching=False)
    lost = site.disturb(run_id, TASKS, lambda pod: HARMS[harm](pods, pod))
    assert site.end_of(run_id) == "SUCCEEDED"
    assert len(set(lost.values())) == len(TASKS)
    assert site.executed(run_id) == set(TASKS)
    assert mlflow.weights(harm) == mlflow.weights("undisturbed")


@pytest.mark.parametrize("task", ["preprocess", "train", "evaluate"])
def test_a_task_that_is_killed_for_its_memory(site: Site, mlflow: Mlflow, undisturbed: str, task: str) -> None:
    """Argo repeats it where argo-retry.yaml is applied; else the run fails, and Retry on its page goes on."""
    assert undisturbed
    pods = site.pods
    run_id = site.submit(f"oom-{task}", caching=False)
    site.disturb(run_id, [task], pods.exhaust_memory)
    state = site.end_of(run_id)
    if _failed_tasks_are_repeated():
        assert state == "SUCCEEDED"
    else:
        assert state == "FAILED"
        site.retry(run_id)
        assert site.end_of(run_id) == "SUCCEEDED"
    assert mlflow.weights(f"oom-{task}") == mlflow.weights("undisturbed")


@pytest.mark.parametrize("index", [0, 1])
def test_a_node_of_two_is_lost(site: Site, mlflow: Mlflow, index: int) -> None:
    """The whole job starts again from its checkpoint, and ends in what two nodes end in undisturbed."""
    _needs_trainer(site)
    pods = site.pods
    longer = "train.duration_kexamples=8"
    whole = site.submit(f"two-{index}-whole", longer, num_nodes=2, caching=False)
    assert site.end_of(whole) == "SUCCEEDED"
    run_id = site.submit(f"two-{index}-lost", longer, num_nodes=2, caching=False)
    what = f"node {index} of the TrainJob of run {run_id}"
    pod = wait_for(lambda: pods.node(run_id, index), what, seconds=POD_SECONDS, pause_seconds=0.3)
    pods.delete(pod, at_once=True)
    assert site.end_of(run_id) == "SUCCEEDED"
    assert mlflow.weights(f"two-{index}-lost") == mlflow.weights(f"two-{index}-whole")


def test_the_only_node_is_killed_for_its_memory(site: Site, mlflow: Mlflow, undisturbed: str) -> None:
    _needs_trainer(site)
    assert undisturbed
    pods = site.pods
    run_id = site.submit("oom-node", caching=False)
    what = f"the node of the TrainJob of run {run_id}"
    pod = wait_for(lambda: pods.node(run_id, 0), what, seconds=POD_SECONDS, pause_seconds=0.3)
    pods.exhaust_memory(pod)
    assert site.end_of(run_id) == "SUCCEEDED"
    assert mlflow.weights("oom-node") == mlflow.weights("undisturbed")


def _needs_trainer(site: Site) -> None:
    if not site.profile.trainer:
        pytest.skip("needs a profile with trainer = true")


def _failed_tasks_are_repeated() -> bool:
    found = KubernetesApi().get(f"/api/v1/namespaces/kubeflow/configmaps/{ARGO_CONFIG}")
    return retry_default((found or {}).get("data") or {}).get("retryPolicy") == "Always"
