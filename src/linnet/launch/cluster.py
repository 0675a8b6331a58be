"""The few calls to the Kubernetes API that a TrainJob needs: outages are waited out, refusals are explained.

Objects stay the API's own JSON, because the client's models would drop fields that are newer than the client.
"""

import json
import os
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from linnet.errors import LinnetError, first_line
from linnet.patience import FIRST_WAIT_SECONDS, patience_seconds, wait_out

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
CALL_TIMEOUT_SECONDS = (5, 30)  # to connect, to read
RETRIED_STATUSES = frozenset({0, 401, 408, 429, 500, 502, 503, 504})  # 401: a token that is being renewed

Response = TypeVar("Response")


class TrainJobError(LinnetError):
    """A TrainJob could not be created or followed, or it failed."""


class Cluster:
    """One namespace of the cluster: that of the pod this process runs in, or else that of the kubeconfig.

    Args:
        outage_seconds: how long to wait for an API that does not answer; None: `patience_seconds()`.

    Raises:
        TrainJobError: there is no cluster; or, in any call, it refuses, or does not answer for `outage_seconds`.
    """

    def __init__(
        self, namespace: str, *, outage_seconds: float | None = None, first_wait_seconds: float = FIRST_WAIT_SECONDS
    ) -> None:
        from kubernetes import client
        from urllib3.exceptions import HTTPError

        self.namespace = namespace
        self.outage_seconds = patience_seconds() if outage_seconds is None else outage_seconds
        self._first_wait_seconds = first_wait_seconds
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
            accept=(404,),
        )

    def jobs(self, labels: str) -> list[dict[str, Any]]:
        """All TrainJobs with these labels."""
        found = self._retried(
            lambda: self._objects.list_namespaced_custom_object(
                *self._location, label_selector=labels, _request_timeout=CALL_TIMEOUT_SECONDS
            )
        )
        assert found is not None
        return list(found["items"])

    def create(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """Create a TrainJob; None if one of that name exists."""
        return self._retried(
            lambda: self._objects.create_namespaced_custom_object(
                *self._location, body, _request_timeout=CALL_TIMEOUT_SECONDS
            ),
            accept=(409,),
        )

    def annotate(
        self, job: Mapping[str, Any], annotations: Mapping[str, str | None], *, if_unchanged: bool
    ) -> dict[str, Any] | None:
        """Set annotations of this TrainJob, or remove those that are None; the others stay as they are.

        Args:
            if_unchanged: only if nobody has changed anything of the job since `job` was read.

        Returns:
            The job as it is now; None if it is gone, or was changed.
        """
        known = ("uid", "resourceVersion") if if_unchanged else ("uid",)
        metadata = {name: job["metadata"][name] for name in known} | {"annotations": dict(annotations)}
        return self._retried(
            lambda: self._objects.patch_namespaced_custom_object(
                *self._location, job["metadata"]["name"], {"metadata": metadata}, _request_timeout=CALL_TIMEOUT_SECONDS
            ),
            accept=(404, 409),
        )

    def delete(self, job: Mapping[str, Any], *, if_unchanged: bool = False) -> bool:
        """Delete this TrainJob, which stays visible until its pods are gone; False if it is gone, or was changed."""
        known = ("uid", "resourceVersion") if if_unchanged else ("uid",)
        options = {
            "propagationPolicy": "Foreground",
            "preconditions": {name: job["metadata"][name] for name in known},
        }
        deleted = self._retried(
            lambda: self._objects.delete_namespaced_custom_object(
                *self._location, job["metadata"]["name"], body=options, _request_timeout=CALL_TIMEOUT_SECONDS
            ),
            accept=(404, 409),
        )
        return deleted is not None

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

    def _retried(self, call: Callable[[], Response], *, accept: Collection[int] = ()) -> Response | None:
        """Repeat a call while the API does not answer; None where it answers with a status in `accept`."""
        try:
            return wait_out(
                call,
                outage=self._outage,
                seconds=self.outage_seconds,
                first_wait_seconds=self._first_wait_seconds,
            )
        except self._connection_error as error:
            raise self._unanswered(first_line(error)) from None
        except self._api_error as error:
            if error.status in accept:
                return None
            if error.status in RETRIED_STATUSES:
                raise self._unanswered(_status_line(error)) from None
            raise self._explained(error) from None

    def _outage(self, error: Exception) -> str | None:
        if isinstance(error, self._connection_error):
            return f"the Kubernetes API does not answer ({first_line(error)})"
        if isinstance(error, self._api_error) and error.status in RETRIED_STATUSES:
            return f"the Kubernetes API does not answer ({_status_line(error)})"
        return None

    def _unanswered(self, reason: str) -> TrainJobError:
        return TrainJobError(
            f"the Kubernetes API has not answered for {self.outage_seconds:.0f} s ({reason}); repeat the task"
        )

    def _explained(self, error: Any) -> TrainJobError:
        """The error for people: why the API refused and what to do about it."""
        status = _status(error)
        message = str(status.get("message") or error.reason)
        match error.status:
            case 403 if "cannot" in message:  # webhooks and quotas answer 403 too
                return TrainJobError(
                    f"the service account of this task may not do that in namespace {self.namespace!r}: apply "
                    f"deploy/kubernetes/base/rbac.yaml ({message})"
                )
            case 404 if status.get("details", {}).get("kind") == "namespaces":
                return TrainJobError(f"there is no namespace {self.namespace!r}; create it, or name another")
            case 404:
                return TrainJobError(
                    f"this cluster has no {PLURAL}.{GROUP}/{VERSION}: Kubeflow Trainer v2 is not installed; install "
                    "it, or set trainer = false in the cluster's profile (pipelines/clusters/)"
                )
            case _:
                return TrainJobError(f"the cluster refused the TrainJob ({error.status}): {message}")


def _status_line(error: Any) -> str:
    return f"{error.status} {first_line(ValueError(error.reason))}"


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
