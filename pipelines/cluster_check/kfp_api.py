"""Whether Kubeflow Pipelines answers, for whom, and of which version it is."""

import re
from dataclasses import dataclass

import urllib3
from urllib3.exceptions import HTTPError

from pipelines import connection as to
from pipelines.cluster_check.kubernetes_api import KubernetesApi
from pipelines.cluster_check.row import NotKnownError, Row
from pipelines.connection import ClusterError, Connection

COMPONENT = "Kubeflow Pipelines"
OLDEST = (2, 17)  # before, a run with an ExitHandler and a layer in it stays RUNNING: kubeflow/pipelines#13322
HOST_REMEDY = "set KFP_HOST; http://127.0.0.1:8888 after kubectl -n kubeflow port-forward svc/ml-pipeline 8888"


@dataclass(frozen=True)
class KfpFinding:
    """The row, and whether each user has a namespace there; None if that is not known."""

    row: Row
    multi_user: bool | None


def ask_kfp(host: str, namespace: str, token_env: str, api: KubernetesApi | None, kfp_namespace: str) -> KfpFinding:
    """Ask the server at `host`; its version also from Kubernetes, if there is an API to ask."""
    if not host:
        return KfpFinding(Row(COMPONENT, "not asked: no KFP_HOST", "not known", HOST_REMEDY), None)
    try:
        connection = to.read_connection(host, namespace, "", token_env)
        with to.connected(connection) as client:
            multi_user = bool(client.get_kfp_healthz().multi_user)
            version = _told_version(connection) or _version_of_image(api, kfp_namespace)
    except ClusterError as reason:
        found, _, remedy = str(reason).partition("; ")
        return KfpFinding(Row(COMPONENT, found, "missing", remedy or HOST_REMEDY), None)
    users = f"a namespace for each user ({namespace})" if multi_user else "one namespace for all"
    text = f"answers at {connection.host}, {users}, version {version or 'not known'}"
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return KfpFinding(Row(COMPONENT, text, "missing", f"install Kubeflow Pipelines {oldest} or newer"), multi_user)
    return KfpFinding(Row(COMPONENT, text), multi_user)


def _told_version(connection: Connection) -> str:
    """What the older health check says; "" where it is gone, or says nothing."""
    credentials = connection.credentials
    token = credentials._get_token() if credentials else connection.token
    try:
        answer = urllib3.request(
            "GET",
            f"{connection.host}/apis/v1beta1/healthz",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=urllib3.Timeout(connect=to.CONNECT_SECONDS, read=to.ANSWER_SECONDS),
            retries=False,
        )
        content = answer.json() if answer.status == 200 else {}
    except (HTTPError, ValueError):
        return ""
    return str(content.get("tag_name") or "") if isinstance(content, dict) else ""


def _version_of_image(api: KubernetesApi | None, kfp_namespace: str) -> str:
    """The tag of the API server's image, where we may look; else ""."""
    try:
        found = api and api.get(f"/apis/apps/v1/namespaces/{kfp_namespace}/deployments/ml-pipeline")
    except NotKnownError:
        return ""
    if not found:
        return ""
    image = str(found["spec"]["template"]["spec"]["containers"][0]["image"]).partition("@")[0]
    return image.rpartition("/")[2].partition(":")[2]
