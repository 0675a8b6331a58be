"""A run of the pipeline on a real cluster, looked at from outside: its tasks, its pods, and what can befall them."""

import json
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from kubernetes import client, config, stream

Json = dict[str, Any]
Found = TypeVar("Found")

RUN_LABEL = "pipeline/runid"
NODE_NAME = "workflows.argoproj.io/node-name"  # of Argo's pods: the way through the DAG
NODE_INDEX = "batch.kubernetes.io/job-completion-index"
TRAINING_LABEL = "linnet/training-key"  # of the pods of a TrainJob
EXECUTOR = "executor"  # what Kubeflow calls the pod that runs a task; the others are drivers
MAIN = "main"  # its container
SECONDS = (5, 30)  # of a request: to connect, to read
STATES = ("state", "lastState")
EAT_MEMORY = "b = []\nwhile True: b.append(b'x' * (64 << 20))"


def wait_for(look: Callable[[], Found | None], what: str, *, seconds: float, pause_seconds: float = 2.0) -> Found:
    """What `look` finds, once it finds something. Raises AssertionError that says what was waited for."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {seconds:.0f} s for {what}")
        time.sleep(pause_seconds)


# --- tasks ------------------------------------------------------------------------------------------------------------


def task_of(pod: Json) -> str | None:
    """The task that a pod executes; None for drivers and for pods that are not Argo's.

    Argo names the node `training-x7k(0).root(0).exit-handler-1(0).look(0).executor(0)`; numbers count the tries.
    """
    path = (pod["metadata"].get("annotations") or {}).get(NODE_NAME, "")
    steps = [re.sub(r"\(\d+\)$", "", step) for step in path.split(".")]
    return steps[-2] if len(steps) > 1 and steps[-1] == EXECUTOR else None


def executed_by_pods(pods: Iterable[Json]) -> set[str]:
    """The tasks that were executed: cached ones have a driver's pod only."""
    return {task for pod in pods if (task := task_of(pod))}


def executed_by_details(details: Iterable[Any], names: Collection[str]) -> set[str]:
    """The same from a run's details, for those who may not see pods.

    Details are nodes of Argo's: a task's executor is below it, maybe below its tries, and SKIPPED if it was cached.

    Args:
        details: `run_details.task_details` of a run.
        names: the tasks of the pipeline; details also list drivers and layers.
    """
    nodes = {detail.pod_name: detail for detail in details}

    def executor_ran(detail: Any) -> bool:
        if _plain(detail.display_name) == EXECUTOR:
            return detail.state not in (None, "SKIPPED", "PENDING")
        children = [nodes[child.pod_name] for child in detail.child_tasks or () if child.pod_name in nodes]
        return any(executor_ran(child) for child in children)

    return {name for detail in details if (name := _plain(detail.display_name)) in names and executor_ran(detail)}


def _plain(name: str | None) -> str:
    return re.sub(r"\(\d+\)$", "", name or "")


def output_uri(pod: Json, name: str) -> str | None:
    """Where the task of this pod leaves the artifact `name`: the launcher is told as JSON in its arguments."""
    for container in pod["spec"]["containers"]:
        for argument in [*(container.get("command") or ()), *(container.get("args") or ())]:
            try:
                artifacts = json.loads(argument)["outputs"]["artifacts"][name]["artifacts"]
            except (ValueError, KeyError, TypeError):
                continue
            return str(artifacts[0]["uri"])
    return None


def artifact_address(endpoint: str, uri: str, namespace: str) -> str:
    """Where Kubeflow's page shows an artifact such as minio://bucket/key."""
    parts = urlsplit(uri)
    query = {"source": parts.scheme, "namespace": namespace, "bucket": parts.netloc, "key": parts.path.lstrip("/")}
    return f"{endpoint.rstrip('/')}/artifacts/get?{urlencode(query)}"


# --- pods -------------------------------------------------------------------------------------------------------------


class Pods:
    """The pods of one namespace, by the kubeconfig. Raises kubernetes' ConfigException where there is none."""

    class Gone(Exception):
        """The pod to be harmed has ended meanwhile."""

    def __init__(self, namespace: str) -> None:
        configuration = client.Configuration()
        config.load_kube_config(client_configuration=configuration)
        self._core = client.CoreV1Api(client.ApiClient(configuration))
        self.namespace = namespace

    def of_run(self, run_id: str) -> list[Json]:
        """Argo's pods of a run: drivers and executors, ended ones too."""
        return self._list(f"{RUN_LABEL}={run_id}")

    def node(self, run_id: str, index: int) -> Json | None:
        """The running pod of node `index` of the TrainJob that a run made."""
        found = [pod for pod in self._list(TRAINING_LABEL) if is_running(pod) and belongs_to(pod, run_id)]
        return next((pod for pod in found if pod["metadata"]["labels"].get(NODE_INDEX) == str(index)), None)

    def delete(self, pod: Json, *, at_once: bool = False) -> None:
        """As `kubectl delete pod` does; `at_once` as a lost node does: without a word to the process."""
        grace = {"grace_period_seconds": 0} if at_once else {}
        with self._gone_is_said():
            self._core.delete_namespaced_pod(
                pod["metadata"]["name"], self.namespace, _preload_content=False, _request_timeout=SECONDS, **grace
            )

    def evict(self, pod: Json) -> None:
        """By the eviction API, as a drained node does."""
        name = pod["metadata"]["name"]
        body = client.V1Eviction(metadata=client.V1ObjectMeta(name=name, namespace=self.namespace))
        with self._gone_is_said():
            self._core.create_namespaced_pod_eviction(
                name, self.namespace, body, _preload_content=False, _request_timeout=SECONDS
            )

    def exhaust_memory(self, pod: Json) -> None:
        """Fill the container's memory from inside, until the kernel kills what is in it (memory.oom.group).

        Raises AssertionError if nothing but the filler was killed: then nothing befell the task.
        """
        name = pod["metadata"]["name"]
        with self._gone_is_said():
            stream.stream(
                self._core.connect_get_namespaced_pod_exec,
                name,
                self.namespace,
                container=main_container(pod),
                command=["python", "-c", EAT_MEMORY],
                stderr=True,
                stdout=True,
                _request_timeout=120,
            )
        what = f"the memory of {name} to be exhausted; does this cluster kill a container as a whole (cgroup 2)?"
        wait_for(lambda: was_killed_for_memory(self._get(name)), what, seconds=60)

    def log(self, pod: Json) -> str:
        """The log of a task's pod."""
        response = self._core.read_namespaced_pod_log(
            pod["metadata"]["name"],
            self.namespace,
            container=main_container(pod),
            _preload_content=False,
            _request_timeout=SECONDS,
        )
        return bytes(response.data).decode("utf-8", errors="replace")

    @contextmanager
    def _gone_is_said(self) -> Iterator[None]:
        try:
            yield
        except client.ApiException as error:
            if error.status == 404 or "404" in str(error.reason):  # a websocket has no status of its own
                raise self.Gone from None
            raise

    def _get(self, name: str) -> Json | None:
        try:
            response = self._core.read_namespaced_pod(
                name, self.namespace, _preload_content=False, _request_timeout=SECONDS
            )
        except client.ApiException as error:
            if error.status == 404:
                return None
            raise
        return dict(json.loads(response.data))

    def _list(self, labels: str) -> list[Json]:
        response = self._core.list_namespaced_pod(
            self.namespace, label_selector=labels, _preload_content=False, _request_timeout=SECONDS
        )
        return list(json.loads(response.data)["items"])


def is_running(pod: Json) -> bool:
    """Whether its containers are at work and nobody has asked it to end."""
    return pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]


def main_container(pod: Json) -> str:
    """The one with our process: Argo's pods have others beside it."""
    names = [str(each["name"]) for each in pod["spec"]["containers"]]
    return MAIN if MAIN in names else names[0]


def was_killed_for_memory(pod: Json | None) -> bool:
    """Also of a container that was started again since, and of a pod that is gone."""
    if pod is None:
        return True
    states = [each.get(key) or {} for each in pod["status"].get("containerStatuses", ()) for key in STATES]
    return any((state.get("terminated") or {}).get("reason") == "OOMKilled" for state in states)


def belongs_to(pod: Json, run_id: str) -> bool:
    """Whether a TrainJob's pod was told the id of this run."""
    variables = [each for container in pod["spec"]["containers"] for each in container.get("env") or ()]
    return any(each["name"] == "LINNET_PIPELINE_RUN" and each.get("value") == run_id for each in variables)
