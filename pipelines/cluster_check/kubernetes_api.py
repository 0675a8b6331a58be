"""Asking the Kubernetes API without changing anything: GET, access reviews, and creations that are dry runs.

Every request of the check goes through `_call`, once and in limited time.
"""

import json
import os
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config
from urllib3.exceptions import HTTPError

from linnet.errors import first_line
from pipelines.cluster_check.row import NotKnownError

Json = dict[str, Any]
SECONDS = (3.0, 7.0)  # to connect, to read
REVIEW = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
LOGIN = "log in again (kubectl get namespaces shows the same), or name another file in KUBECONFIG"


class NotAskedError(NotKnownError):
    """There is no Kubernetes API to ask."""


class UnreachableError(NotKnownError):
    """There is one, and it gives no usable answer to anybody or to us."""


class KubernetesApi:
    """The API of the kubeconfig (KUBECONFIG), or of the cluster whose pod this is.

    Raises:
        NotAskedError: there is neither.
        UnreachableError: in any call, no answer, or the login is not accepted.
        NotKnownError: in any call, this user may not ask.
    """

    def __init__(self) -> None:
        configuration = _configuration()
        configuration.retries = False
        self._api = client.ApiClient(configuration)
        self.address = str(configuration.host)

    def get(self, path: str, **query: str) -> Json | None:
        """The object or list at `path`; None if there is none."""
        try:
            return self._call("GET", path, query)
        except client.ApiException as error:
            if error.status == 404:
                return None
            raise self._explained(error) from None

    def may(self, account: str, namespace: str, *, verb: str, group: str, resource: str) -> bool:
        """Whether a service account may do that in its namespace; `resource` may be `pods/log`."""
        name, _, subresource = resource.partition("/")
        attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": name}
        spec = {
            "user": f"system:serviceaccount:{namespace}:{account}",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
            "resourceAttributes": attributes | ({"subresource": subresource} if subresource else {}),
        }
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        try:
            answer = self._call("POST", REVIEW, {}, body)
        except client.ApiException as error:
            raise self._explained(error) from None
        return bool(answer["status"].get("allowed"))

    def refusal(self, path: str, body: Json) -> str:
        """Why the server would not create this, from a dry run; "" if it would."""
        try:
            self._call("POST", path, {"dryRun": "All"}, body)
        except client.ApiException as error:
            message = _message(error)
            if error.status == 409:  # one of that name is there
                return ""
            if error.status in (400, 404, 422) or (error.status == 403 and "cannot create" not in message):
                return message  # webhooks and quotas answer 403, too
            raise self._explained(error) from None
        return ""

    def _call(self, method: str, path: str, query: dict[str, str], body: Json | None = None) -> Json:
        assert method == "GET" or query.get("dryRun") == "All" or path == REVIEW, "this would change the cluster"
        try:
            response = self._api.call_api(
                path,
                method,
                query_params=list(query.items()),
                header_params={"Accept": "application/json", "Content-Type": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=SECONDS,
            )
            answer = json.loads(response.data)
        except (HTTPError, OSError) as error:
            raise UnreachableError(
                f"{self.address} does not answer ({first_line(error)})",
                "check the cluster's name in KUBECONFIG, your network, and its certificate",
            ) from None
        except ValueError:  # a login page
            answer = None
        if not isinstance(answer, dict):
            raise UnreachableError(f"{self.address} answers, but not as the Kubernetes API does", LOGIN)
        return answer

    def _explained(self, error: client.ApiException) -> NotKnownError:
        match error.status:
            case 401:
                return UnreachableError("the login is not accepted (HTTP 401), it may have expired", LOGIN)
            case 403:
                return NotKnownError(f"forbidden ({_message(error)})", "ask somebody who may, such as an administrator")
            case status:
                return UnreachableError(f"HTTP {status} ({_message(error)})", "try again; look at the API server's log")


def _message(error: client.ApiException) -> str:
    """What a `Status` object says; the reason where a proxy answered."""
    try:
        return " ".join(str(json.loads(error.body)["message"]).split())[:300]
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


def _configuration() -> Any:
    configuration = client.Configuration()
    path = os.environ.get("KUBECONFIG")
    try:
        if not path and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=configuration)
        elif not path and not Path(config.KUBE_CONFIG_DEFAULT_LOCATION).expanduser().is_file():
            raise NotAskedError("no kubeconfig", "set KUBECONFIG to the file with which kubectl reaches the cluster")
        else:
            config.load_kube_config(config_file=path, client_configuration=configuration)
    except NotAskedError:
        raise
    except (config.ConfigException, yaml.YAMLError, OSError, ValueError, KeyError, TypeError, AttributeError) as reason:
        raise NotAskedError(
            f"the kubeconfig cannot be used ({first_line(reason)})",
            "see what kubectl config view says; name another file in KUBECONFIG",
        ) from None
    return configuration
