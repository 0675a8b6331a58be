"""How the commands reach Kubeflow Pipelines: options, credentials, a limit on waiting, and failures in a sentence.

`kfp.client.Client` tries a wrong address for half a minute, waits for ever for a server that does not answer, and takes
the HTML of a login page for an empty answer. So the server is asked once, in limited time, before a client is made.
"""

import contextlib
import io
import json
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import kfp.client
import typer
import urllib3
from kfp_server_api import ApiException
from kfp_server_api.rest import RESTClientObject
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError, SSLError

from linnet.errors import LinnetError

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0
CHANGE_SECONDS = 60.0  # a busy server may be slow to create things, and giving up leaves it unknown whether it did
TOKEN_VARIABLE = "KFP_TOKEN"  # noqa: S105
UI_VARIABLE = "KF_PIPELINES_UI_ENDPOINT"  # kfp's
UI_FORWARD = "kubectl -n kubeflow port-forward svc/ml-pipeline-ui 8080:80"
TOKEN_REMEDY = (
    f"export {TOKEN_VARIABLE}=$(kubectl create token SERVICEACCOUNT --namespace NS --audience pipelines.kubeflow.org)"
)

Host = Annotated[
    str, typer.Option(envvar="KFP_HOST", metavar="URL", help="Address of the KFP API, such as http://127.0.0.1:8888.")
]
Namespace = Annotated[
    str, typer.Option(envvar="KFP_NAMESPACE", metavar="NS", help="Your profile's namespace, on multi-user servers.")
]
Experiment = Annotated[str, typer.Option(metavar="NAME", help="KFP experiment: where the UI lists it.")]
TokenEnv = Annotated[
    str,
    typer.Option(metavar="VAR", help="NAME of the environment variable with the token. Unset: the pod's own, if any."),
]
Image = Annotated[
    str, typer.Option(envvar="LINNET_IMAGE", metavar="REF", help="Image of all tasks, as NAME@sha256:DIGEST.")
]
ClusterProfile = Annotated[
    str,
    typer.Option(
        "--cluster",
        envvar="LINNET_CLUSTER",
        metavar="NAME",
        help="A profile of pipelines/clusters/, or a file of yours.",
    ),
]


class ClusterError(LinnetError):
    """The cluster refuses or cannot be used; the message names cause and remedy."""


class NoAnswerError(ClusterError):
    """Nothing usable came back: the network or the server failed, so trying later may help."""


@dataclass(frozen=True)
class Connection:
    """Where and as whom. The token is kept out of `repr`, and so out of logs and tracebacks."""

    host: str
    namespace: str
    experiment: str
    token_variable: str
    token: str = field(repr=False)

    @property
    def credentials(self) -> kfp.client.ServiceAccountTokenVolumeCredentials | None:
        """The ServiceAccount's token that Kubernetes keeps fresh in a file of the pod, where no other is given."""
        path = os.environ.get(kfp.client.KF_PIPELINES_SA_TOKEN_ENV) or kfp.client.KF_PIPELINES_SA_TOKEN_PATH
        usable = not self.token and Path(path).is_file()
        return kfp.client.ServiceAccountTokenVolumeCredentials(path) if usable else None


def read_connection(host: str, namespace: str, experiment: str, token_env: str) -> Connection:
    """Check what was given, before anything is sent. Raises ClusterError."""
    if not host:
        raise ClusterError(
            "no server: give --host or KFP_HOST, such as http://ml-pipeline.kubeflow:8888 inside the cluster, or "
            "http://127.0.0.1:8888 after `kubectl port-forward -n kubeflow svc/ml-pipeline 8888`"
        )
    if "@" in host:  # the address is printed with the run's link
        raise ClusterError("--host: leave name and password out of the address; a token goes into KFP_TOKEN")
    if not re.match(r"https?://[^/\s]+", host):
        raise ClusterError(f"{host}: a server's address starts with http:// or https://")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,39}", token_env):  # longer: likely a token itself, don't repeat it
        raise ClusterError(
            "--token-env: give the NAME of an environment variable, never the token: others see command lines"
        )
    token = os.environ.get(token_env, "").strip()
    if token_env != TOKEN_VARIABLE and not token:
        raise ClusterError(f"--token-env {token_env}: this variable is empty; {TOKEN_REMEDY}")
    if not re.fullmatch(r"[!-~]*", token):
        raise ClusterError(f"{token_env}: holds spaces, line ends or letters that no token has; {TOKEN_REMEDY}")
    return Connection(host.rstrip("/"), namespace, experiment, token_env, token)


@contextlib.contextmanager
def connected(connection: Connection) -> Iterator[kfp.client.Client]:
    """A client for a server that has answered, so that a wrong address or token shows before anything is changed.

    Raises:
        ClusterError: in place of whatever goes wrong with a request.
    """
    with failures_explained(connection, "is it the KFP API (port 8888), and does a firewall let you through?"):
        namespace = _check_server(connection)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # "only works with KFP 2.0.0-beta.2 and later"
        client = kfp.client.Client(
            host=connection.host,
            namespace=namespace or "kubeflow",  # kfp's word for "not given"
            existing_token=connection.token or None,
            credentials=connection.credentials,
        )
    requests = _LimitedRequests(client._existing_config)
    client._healthz_api.api_client.rest_client = requests  # one for all of kfp's services
    try:
        with failures_explained(connection, "look in the UI whether the change was made before you repeat it"):
            yield client
    finally:
        requests.pool_manager.clear()


def _check_server(connection: Connection) -> str:
    """Ask the server whether it is well, and return the namespace to work in; empty where it has only one."""
    credentials = connection.credentials
    token = credentials._get_token() if credentials else connection.token
    answer = urllib3.request(
        "GET",
        f"{connection.host}/apis/v2beta1/healthz",
        headers={"Authorization": f"Bearer {token}"} if token else {},
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS),
        retries=False,
    )
    if answer.status == 404:
        raise ClusterError(f"{connection.host}: is no KFP API; give the address where /apis/v2beta1/healthz answers")
    if answer.status != 200:
        error = ApiException(answer.status)
        error.body = answer.data
        raise error
    try:
        multi_user = answer.json().get("multi_user", False)
    except ValueError:
        raise ClusterError(
            f"{connection.host}: answers, but not as the KFP API does (a login page?); give the API's own address, and "
            f"a token in {connection.token_variable}"
        ) from None
    namespace, of_pod = connection.namespace, Path(kfp.client.Client._NAMESPACE_PATH)
    if multi_user and not namespace and of_pod.is_file():
        namespace = of_pod.read_text(encoding="utf-8").strip()
    if multi_user and not namespace:
        raise ClusterError(
            f"{connection.host}: serves several users, each in a namespace; give yours with --namespace or "
            "KFP_NAMESPACE"
        )
    return namespace


class _LimitedRequests(RESTClientObject):  # type: ignore[misc]
    """kfp's transport, but in limited time, without redirects, and only once: a repeated POST would train twice."""

    def __init__(self, configuration: Any) -> None:
        configuration.retries = False
        super().__init__(configuration)

    def request(self, method: str, url: str, **options: Any) -> Any:
        """As the parent's, with the parent's keywords."""
        seconds = ANSWER_SECONDS if method == "GET" else CHANGE_SECONDS
        return super().request(method, url, **options | {"_request_timeout": (CONNECT_SECONDS, seconds)})


@contextlib.contextmanager
def failures_explained(connection: Connection, remedy: str) -> Iterator[None]:
    """Whatever goes wrong with a request becomes a ClusterError of one sentence; `remedy`: if no answer came."""
    try:
        yield
    except ApiException as error:
        raise _refusal(connection, error) from None
    except HTTPError as error:
        match error:
            case SSLError():
                reason = " ".join(str(error).split())[:200]
                text = f"the TLS certificate is not trusted ({reason}); give the name it is made for"
            case NameResolutionError():
                text = "no such name; check --host and KFP_HOST, and whether you need the cluster's network"
            case NewConnectionError():
                text = "nothing listens there; check --host and KFP_HOST, and that the port-forward runs"
            case _:
                text = f"no answer; {remedy}"
        raise NoAnswerError(f"{connection.host}: {text}") from None


def _refusal(connection: Connection, error: ApiException) -> ClusterError:
    message = ""
    with contextlib.suppress(ValueError, TypeError, KeyError):  # a gateway's page in place of KFP's JSON
        message = f": {' '.join(json.loads(error.body)['message'].split())[:300]}"
    if connection.token:  # servers do repeat what they were sent
        message = message.replace(connection.token, "***")
    kind: type[ClusterError] = ClusterError
    match error.status:
        case 401 if connection.token or connection.credentials:
            text = f"does not accept the token (HTTP 401), it may have expired; {TOKEN_REMEDY}"
        case 401:
            text = f"asks for a token (HTTP 401); {TOKEN_REMEDY}"
        case 403:
            text = (
                f"you may not do this in {connection.namespace or 'its only namespace'} (HTTP 403{message}); check "
                "--namespace, and ask its owner for the role kubeflow-edit"
            )
        case status if 300 <= status < 400:
            text = (
                f"sends you elsewhere (HTTP {status}), likely to a login page; give the API's own address, and a token "
                f"in {connection.token_variable}"
            )
        case status if status >= 500:
            kind, text = NoAnswerError, f"the server failed (HTTP {status}{message}); try again, then read its log"
        case status:
            text = f"refuses this (HTTP {status}{message}); change what the server names"
    return kind(f"{connection.host}: {text}")


def ui_link(connection: Connection, kind: str, identifier: str) -> str:
    """Where a browser shows it.

    That is at kfp's own variable, or at the API's address where a page is there (a gateway serves both). The API's own
    service has none; then it is said how to get to the page.
    """
    path = f"#/{kind}/details/{identifier}"
    if endpoint := os.environ.get(UI_VARIABLE):
        return f"{endpoint.rstrip('/')}/{path}"
    if _serves_pages(connection):
        return f"{connection.host}/{path}"
    return f"http://127.0.0.1:8080/{path} after `{UI_FORWARD}` (or set {UI_VARIABLE})"


def _serves_pages(connection: Connection) -> bool:
    try:
        answer = urllib3.request(
            "GET",
            f"{connection.host}/",
            headers={"Accept": "text/html"},
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS),
            retries=False,
        )
    except HTTPError:
        return False
    return answer.status < 400 and "html" in answer.headers.get("Content-Type", "")


@contextlib.contextmanager
def compiled(image: str, cluster: str) -> Iterator[Path]:
    """The training pipeline compiled for `image` and a cluster's profile, as a file that is gone afterwards.

    Raises:
        ClusterError: the image is not named by its digest. KFP's cache compares names, so a moved tag would bring
            back results of older code, and nodes could run different code.
    """
    if not re.fullmatch(r"[^\s@]+@sha256:[0-9a-f]{64}", image):
        raise ClusterError(
            f"{f'image {image!r}' if image else 'no image'}: give --image or LINNET_IMAGE as NAME@sha256:DIGEST, by "
            "digest so that the cache is truthful; `make image PUSH=registry/linnet` prints it"
        )
    os.environ |= {"LINNET_IMAGE": image, "LINNET_CLUSTER": cluster}  # read when the components are imported
    from pipelines.compile import compile_pipeline

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "linnet-training.yaml"
        with without_kfps_links():
            compile_pipeline(path)
        assert image in path.read_text(encoding="utf-8"), "components were imported earlier, for another image"
        yield path


def without_kfps_links() -> contextlib.redirect_stdout[io.StringIO]:
    """For calls in which kfp prints links; ours are printed once, at the end."""
    return contextlib.redirect_stdout(io.StringIO())
