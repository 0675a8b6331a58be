"""The few calls to the Kubernetes API that a training job needs; blips are waited out, refusals said in plain words.

Objects travel as the API's own JSON: the client's models would drop what is newer than the client.
"""

import json
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

from linnet.errors import LinnetError, first_line
from linnet.progress import log

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
CALL_TIMEOUT_SECONDS = (5, 30)  # to connect, to read
LONGEST_PAUSE_SECONDS = 30.0
PASSING = frozenset({0, 401, 408, 429, 500, 502, 503, 504})  # 401: a token that is being renewed

Answer = TypeVar("Answer")


class TrainJobError(LinnetError):
    """A TrainJob could not be made or followed, or it failed."""


class Cluster:
    """One namespace of the cluster that this process may talk to: its pod's own cluster, or the kubeconfig's.

    Raises:
        TrainJobError: when made, there is no cluster; in any call, it refused, or stayed away for `outage_seconds`.
    """

    def __init__(self, namespace: str, *, pause_seconds: float, outage_seconds: float) -> None:
        from kubernetes import client
        from urllib3.exceptions import HTTPError

        self.namespace = namespace
        self.outage_seconds = outage_seconds
        self._pause_seconds = pause_seconds
        self._refused, self._away = client.ApiException, HTTPError
        api = client.ApiClient(_configuration())
        self._objects, self._core = client.CustomObjectsApi(api), client.CoreV1Api(api)
        self._address = (GROUP, VERSION, namespace, PLURAL)

    def get(self, name: str) -> dict[str, Any] | None:
        """The TrainJob of that name, if there is one."""
        return self._patiently(
            lambda: self._objects.get_namespaced_custom_object(
                *self._address, name, _request_timeout=CALL_TIMEOUT_SECONDS
            ),
            may_be_absent=True,
        )

    def create(self, body: dict[str, Any]) -> bool:
        """Make a TrainJob; False if one of that name exists."""

        def call() -> bool:
            try:
                self._objects.create_namespaced_custom_object(
                    *self._address, body, _request_timeout=CALL_TIMEOUT_SECONDS
                )
            except self._refused as error:
                if error.status == 409:
                    return False
                raise
            return True

        return bool(self._patiently(call))

    def delete(self, name: str, *, uid: str) -> None:
        """End this one TrainJob; it stays visible until its pods are gone."""
        options = {"propagationPolicy": "Foreground", "preconditions": {"uid": uid}}

        def call() -> None:
            try:
                self._objects.delete_namespaced_custom_object(
                    *self._address, name, body=options, _request_timeout=CALL_TIMEOUT_SECONDS
                )
            except self._refused as error:
                if error.status != 409:  # 409: the name is another one's by now, so this one is gone
                    raise

        self._patiently(call, may_be_absent=True)

    def pods(self, labels: str) -> list[dict[str, Any]]:
        """Pods with these labels, oldest first."""

        def call() -> list[dict[str, Any]]:
            response = self._core.list_namespaced_pod(
                self.namespace, label_selector=labels, _preload_content=False, _request_timeout=CALL_TIMEOUT_SECONDS
            )
            return list(json.loads(response.data)["items"])

        found = self._patiently(call) or []
        return sorted(found, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))

    def log(self, pod: str, container: str, *, since_seconds: int | None) -> str | None:
        """What a container wrote, each line with its time in front; None while it cannot be read.

        Tried once: a node that is lost must not keep us from hearing how the job went on elsewhere.
        """
        options = {} if since_seconds is None else {"since_seconds": since_seconds}
        try:
            response = self._core.read_namespaced_pod_log(
                pod,
                self.namespace,
                container=container,
                timestamps=True,
                _preload_content=False,  # the client would parse a log that happens to be JSON
                _request_timeout=CALL_TIMEOUT_SECONDS,
                **options,
            )
        except self._refused as error:
            if error.status == 403:
                raise self._in_words(error) from None
            return None
        except self._away:
            return None
        return bytes(response.data).decode("utf-8", errors="replace")

    def _patiently(self, call: Callable[[], Answer], *, may_be_absent: bool = False) -> Answer | None:
        """Repeat a call while the API is away; None where the object is absent and may be."""
        first_failure, pause = 0.0, self._pause_seconds
        while True:
            try:
                return call()
            except self._refused as error:
                if error.status == 404 and may_be_absent:
                    return None
                if error.status not in PASSING:
                    raise self._in_words(error) from None
                reason = f"{error.status} {first_line(ValueError(error.reason))}"
            except self._away as error:
                reason = first_line(error)
            first_failure = first_failure or time.monotonic()
            if time.monotonic() - first_failure + pause > self.outage_seconds:
                raise TrainJobError(
                    f"the Kubernetes API has not answered for {self.outage_seconds:.0f} s ({reason}); repeat the task"
                )
            log(f"the Kubernetes API does not answer ({reason}); trying again in {pause:.0f} s")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _in_words(self, error: Any) -> TrainJobError:
        """What a refusal means and what to do about it."""
        status = _status(error)
        message = str(status.get("message") or error.reason)
        match error.status:
            case 403 if "cannot" in message:  # webhooks and quotas answer 403 too
                return TrainJobError(
                    f"the service account of this task may not do that in namespace {self.namespace!r}: apply "
                    f"deploy/kubernetes/rbac.yaml ({message})"
                )
            case 404 if status.get("details", {}).get("kind") == "namespaces":
                return TrainJobError(f"there is no namespace {self.namespace!r}; create it, or name another")
            case 404:
                return TrainJobError(
                    f"this cluster knows no {PLURAL}.{GROUP}/{VERSION}: Kubeflow Trainer v2 is not installed; install "
                    "it, or train on one node"
                )
            case _:
                return TrainJobError(f"the cluster refused the TrainJob ({error.status}): {message}")


def _status(error: Any) -> dict[str, Any]:
    """The API's own account of an error; empty where a proxy answered, or the path is unknown."""
    try:
        status = json.loads(error.body)
    except (TypeError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}


def _configuration() -> Any:
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        try:
            config.load_kube_config(config_file=os.environ.get("KUBECONFIG"), client_configuration=configuration)
        except config.ConfigException as reason:
            raise TrainJobError(
                f"no Kubernetes cluster to train on ({first_line(reason)}): run inside a pod, or set KUBECONFIG"
            ) from None
    return configuration
