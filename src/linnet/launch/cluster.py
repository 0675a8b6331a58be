"""The few calls to the Kubernetes API that a TrainJob needs: outages are waited out, refusals are explained.

Objects stay the API's own JSON, because the client's models would drop fields that are newer than the client.
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
MAX_BACKOFF_SECONDS = 30.0
RETRIED_STATUSES = frozenset({0, 401, 408, 429, 500, 502, 503, 504})  # 401: a token that is being renewed

Response = TypeVar("Response")


class TrainJobError(LinnetError):
    """A TrainJob could not be created or followed, or it failed."""


class Cluster:
    """One namespace of the cluster: that of the pod this process runs in, or else that of the kubeconfig.

    Raises:
        TrainJobError: there is no cluster; or, in any call, it refuses, or does not answer for `outage_seconds`.
    """

    def __init__(self, namespace: str, *, backoff_seconds: float, outage_seconds: float) -> None:
        from kubernetes import client
        from urllib3.exceptions import HTTPError

        self.namespace = namespace
        self.outage_seconds = outage_seconds
        self._backoff_seconds = backoff_seconds
        self._api_error, self._connection_error = client.ApiException, HTTPError
        api = client.ApiClient(_configuration())
        self._objects, self._core = client.CustomObjectsApi(api), client.CoreV1Api(api)
        self._location = (GROUP, VERSION, namespace, PLURAL)

    def get(self, name: str) -> dict[str, Any] | None:
        """The TrainJob of that name; None if there is none."""
        return self._retried(
            lambda: self._objects.get_namespaced_custom_object(
                *self._location, name, _request_timeout=CALL_TIMEOUT_SECONDS
            ),
            may_be_absent=True,
        )

    def create(self, body: dict[str, Any]) -> bool:
        """Create a TrainJob; False if one of that name exists."""

        def call() -> bool:
            try:
                self._objects.create_namespaced_custom_object(
                    *self._location, body, _request_timeout=CALL_TIMEOUT_SECONDS
                )
            except self._api_error as error:
                if error.status == 409:
                    return False
                raise
            return True

        return bool(self._retried(call))

    def delete(self, name: str, *, uid: str) -> None:
        """Delete the TrainJob with this uid; it stays visible until its pods are gone."""
        options = {"propagationPolicy": "Foreground", "preconditions": {"uid": uid}}

        def call() -> None:
            try:
                self._objects.delete_namespaced_custom_object(
                    *self._location, name, body=options, _request_timeout=CALL_TIMEOUT_SECONDS
                )
            except self._api_error as error:
                if error.status != 409:  # 409: another job has the name by now, so this one is gone
                    raise

        self._retried(call, may_be_absent=True)

    def pods(self, labels: str) -> list[dict[str, Any]]:
        """Pods with these labels, oldest first."""

        def call() -> list[dict[str, Any]]:
            response = self._core.list_namespaced_pod(
                self.namespace, label_selector=labels, _preload_content=False, _request_timeout=CALL_TIMEOUT_SECONDS
            )
            return list(json.loads(response.data)["items"])

        found = self._retried(call) or []
        return sorted(found, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))

    def log(self, pod: str, container: str, *, since_seconds: int | None) -> str | None:
        """The log of a container, each line after its time; None while it cannot be read.

        It is tried once: a node that is lost must not keep us from the state of the job.
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
        except self._api_error as error:
            if error.status == 403:
                raise self._explained(error) from None
            return None
        except self._connection_error:
            return None
        return bytes(response.data).decode("utf-8", errors="replace")

    def _retried(self, call: Callable[[], Response], *, may_be_absent: bool = False) -> Response | None:
        """Repeat a call while the API does not answer; None where the object is absent and may be."""
        first_failure, backoff = 0.0, self._backoff_seconds
        while True:
            try:
                return call()
            except self._api_error as error:
                if error.status == 404 and may_be_absent:
                    return None
                if error.status not in RETRIED_STATUSES:
                    raise self._explained(error) from None
                reason = f"{error.status} {first_line(ValueError(error.reason))}"
            except self._connection_error as error:
                reason = first_line(error)
            first_failure = first_failure or time.monotonic()
            if time.monotonic() - first_failure + backoff > self.outage_seconds:
                raise TrainJobError(
                    f"the Kubernetes API has not answered for {self.outage_seconds:.0f} s ({reason}); repeat the task"
                )
            log(f"the Kubernetes API does not answer ({reason}); trying again in {backoff:.0f} s")
            time.sleep(backoff)
            backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)

    def _explained(self, error: Any) -> TrainJobError:
        """The error for people: why the API refused and what to do about it."""
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
                    f"this cluster has no {PLURAL}.{GROUP}/{VERSION}: Kubeflow Trainer v2 is not installed; install "
                    "it, or train on one node"
                )
            case _:
                return TrainJobError(f"the cluster refused the TrainJob ({error.status}): {message}")


def _status(error: Any) -> dict[str, Any]:
    """The `Status` object of an error; empty where a proxy answered, or the path is unknown."""
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
