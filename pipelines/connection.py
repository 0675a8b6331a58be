"""How the commands reach Kubeflow Pipelines: options, credentials, limits on waiting, and errors said for people.

kfp's own client tries for half a minute with a traceback each time, waits for ever for a server that does not answer,
and follows redirects to login pages, whose HTML it takes for empty answers. Here every request is made once, in limited
time, and whatever goes wrong becomes one sentence with a remedy.
"""

import contextlib
import io
import json
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import kfp.client
import typer
import urllib3
from kfp_server_api import ApiException
from kfp_server_api.rest import RESTClientObject

from linnet.errors import LinnetError, explain
from linnet.progress import log
from linnet.recipe.load import RecipeError

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0
CHANGE_SECONDS = 60.0  # a busy server may be slow to create things, and giving up leaves it unknown whether it did
TOKEN_VARIABLE = "KFP_TOKEN"  # noqa: S105
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


class ClusterError(LinnetError):
    """The cluster cannot be used as asked; the message names cause and remedy."""


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
    """A client that has been answered once, so that a wrong address or token shows before anything is changed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # "only works with KFP 2.0.0-beta.2 and later"
        client = _Client(connection)
    try:
        if client.get_kfp_healthz().multi_user and not client.get_user_namespace():
            raise ClusterError(
                f"{connection.host}: serves several users, each in a namespace; give yours with --namespace or "
                "KFP_NAMESPACE"
            )
        yield client
    finally:
        client.close()


class _Client(kfp.client.Client):  # type: ignore[misc]
    """kfp's client, with every request through `_Requests` and nothing written to the home folder."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._requests: _Requests | None = None
        super().__init__(
            host=connection.host,
            namespace=connection.namespace or "kubeflow",  # kfp's word for "not given"
            existing_token=connection.token or None,
            credentials=None if connection.token else _pod_credentials(),
        )
        if connection.namespace:
            self.set_user_namespace(connection.namespace)  # also where it is called kubeflow

    def get_kfp_healthz(self, sleep_duration: int = 5) -> Any:
        """Asked once, not five times. The first request of all, so requests are limited from here on."""
        del sleep_duration
        if self._requests is None:
            self._requests = _Requests(self._existing_config, self._connection)
            self._healthz_api.api_client.rest_client = self._requests
        return self._healthz_api.healthz_service_get_healthz()

    def set_user_namespace(self, namespace: str) -> None:
        """Only for this process: kfp would write ~/.config, which a pod may not."""
        self._context_setting["namespace"] = namespace

    def close(self) -> None:
        if self._requests is not None:
            self._requests.pool_manager.clear()


def _pod_credentials() -> kfp.client.ServiceAccountTokenVolumeCredentials | None:
    """The ServiceAccount's token that Kubernetes keeps fresh in a file, where there is one."""
    path = os.environ.get(kfp.client.KF_PIPELINES_SA_TOKEN_ENV) or kfp.client.KF_PIPELINES_SA_TOKEN_PATH
    return kfp.client.ServiceAccountTokenVolumeCredentials(path) if Path(path).is_file() else None


class _Requests(RESTClientObject):  # type: ignore[misc]
    """One attempt in limited time, no redirects, errors as sentences. The only place where requests leave."""

    def __init__(self, configuration: Any, connection: Connection) -> None:
        configuration.retries = urllib3.Retry(total=0, raise_on_redirect=False)  # a repeated POST would train twice
        super().__init__(configuration)
        self._configuration = configuration
        self._connection = connection

    def request(self, method: str, url: str, **options: Any) -> Any:
        """As the parent's, with the parent's keywords. Raises ClusterError."""
        options["_request_timeout"] = (CONNECT_SECONDS, ANSWER_SECONDS if method == "GET" else CHANGE_SECONDS)
        try:
            response = super().request(method, url, **options)
            json.loads(response.data)
        except ApiException as error:
            raise self._refusal(error, url) from None
        except urllib3.exceptions.HTTPError as error:
            raise NoAnswerError(self._silence(error, method)) from None
        except ValueError:
            raise ClusterError(
                f"{self._connection.host}: answers, but not as the KFP API does (a login page?); give the API's own "
                f"address, and a token in {self._connection.token_variable}"
            ) from None
        return response

    def _silence(self, error: urllib3.exceptions.HTTPError, method: str) -> str:
        reason = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) else error
        host = self._connection.host
        match reason:
            case urllib3.exceptions.SSLError():
                return (
                    f"{host}: the TLS certificate is not trusted ({self._tidy(reason)}); give the name it is made for"
                )
            case urllib3.exceptions.NameResolutionError():
                return f"{host}: no such name; check --host and KFP_HOST, and whether you need the cluster's network"
            case urllib3.exceptions.ReadTimeoutError() | urllib3.exceptions.ProtocolError() if method != "GET":
                return f"{host}: no answer to a change; look in the UI whether it was made before you repeat it"
            case urllib3.exceptions.NewConnectionError():  # itself a kind of ConnectTimeoutError
                return f"{host}: nothing listens there; check --host and KFP_HOST, and that the port-forward runs"
            case _:
                return f"{host}: no answer; is it the KFP API (port 8888), and does a firewall let you through?"

    def _refusal(self, error: ApiException, url: str) -> ClusterError:
        said, status = self._message(error), error.status
        kind: type[ClusterError] = ClusterError
        match status:
            case 401 if self._configuration.api_key.get("authorization"):
                text = f"does not accept the token (HTTP 401), it may have expired; {TOKEN_REMEDY}"
            case 401:
                text = f"asks for a token (HTTP 401); {TOKEN_REMEDY}"
            case 403:
                place = self._connection.namespace or "its only namespace"
                text = (
                    f"you may not do this in {place} (HTTP 403{said}); check --namespace, and ask its owner for the "
                    "role kubeflow-edit"
                )
            case status if 300 <= status < 400:
                text = (
                    f"sends you elsewhere (HTTP {status}), likely to a login page; give the API's own address, and a "
                    f"token in {self._connection.token_variable}"
                )
            case 404 if url.endswith("/healthz"):
                text = "is no KFP API; give the address where /apis/v2beta1/healthz answers"
            case status if status >= 500:
                kind, text = NoAnswerError, f"the server failed (HTTP {status}{said}); try again, then read its log"
            case _:
                text = f"refuses this (HTTP {status}{said}); change what the server names"
        return kind(f"{self._connection.host}: {text}")

    def _message(self, error: ApiException) -> str:
        """What the server says of a refusal: the `message` of its JSON."""
        try:
            return f": {self._tidy(json.loads(error.body)['message'])}"
        except (ValueError, TypeError, KeyError):
            return ""

    def _tidy(self, text: object) -> str:
        """One short line, without the token, should the other side repeat it."""
        line = " ".join(str(text).split())
        token = self._configuration.api_key.get("authorization")
        return (line.replace(token, "***") if token else line)[:300]


def ui_link(connection: Connection, kind: str, identifier: str) -> str:
    """Where a browser shows it; kfp's own variable names the UI where it is not at the API's address."""
    return f"{os.environ.get('KF_PIPELINES_UI_ENDPOINT', connection.host)}/#/{kind}/details/{identifier}"


@contextlib.contextmanager
def compiled(image: str) -> Iterator[Path]:
    """The training pipeline compiled for `image`, as a file that is gone afterwards.

    Raises:
        ClusterError: the image is not named by its digest. KFP's cache compares names, so a moved tag would bring
            back results of older code, and nodes could run different code.
    """
    if not re.fullmatch(r"[^\s@]+@sha256:[0-9a-f]{64}", image):
        raise ClusterError(
            f"{f'image {image!r}' if image else 'no image'}: give --image or LINNET_IMAGE as NAME@sha256:DIGEST, by "
            "digest so that the cache is truthful; `make image PUSH=registry/linnet` prints it"
        )
    os.environ["LINNET_IMAGE"] = image  # the components read it when they are imported
    from pipelines.compile import compile_pipeline

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "linnet-training.yaml"
        with contextlib.redirect_stdout(io.StringIO()):
            compile_pipeline(path)
        if image not in path.read_text(encoding="utf-8"):
            raise AssertionError("components were imported earlier, for another image")
        yield path


def quiet() -> contextlib.redirect_stdout[io.StringIO]:
    """For calls in which kfp prints links it goes; ours are printed once, at the end."""
    return contextlib.redirect_stdout(io.StringIO())


def run_command(app: typer.Typer, arguments: Sequence[str] | None = None) -> None:
    """Run a command; mistakes become one message without a traceback, and an exit status as linnet's own."""
    try:
        app(arguments)
    except (LinnetError, OSError) as error:
        message = explain(error)
        if message is None:
            raise
        for line in message.splitlines():
            log(f"linnet: {line}")
        sys.exit(2 if isinstance(error, RecipeError) else 1)
