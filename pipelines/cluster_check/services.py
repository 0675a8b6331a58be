"""Servers beside Kubernetes: S3, MLflow and the image's registry, as far as this machine may ask them."""

import json
import re
from urllib.parse import urlencode, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from linnet.errors import first_line, redact_credentials
from pipelines.cluster_check.kubernetes_api import KubernetesApi
from pipelines.cluster_check.row import NotKnownError, Row

TIMEOUT = urllib3.Timeout(connect=3.0, read=7.0)
MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
)
AMAZON = "https://s3.amazonaws.com"
OLDEST_MLFLOW = 3
INSIDE = "the address is the cluster's own, which this machine does not know; the task look asks it first"


def is_inside(host: str) -> bool:
    """Whether only pods can resolve this name: of a Service, with or without its namespace."""
    return "." not in host or host.endswith((".svc", ".cluster.local", ".internal"))


def _ask(
    method: str, url: str, headers: dict[str, str] | None = None, timeout: urllib3.Timeout = TIMEOUT
) -> urllib3.BaseHTTPResponse:
    """Once, in limited time, without redirects. Raises NotKnownError."""
    assert method in ("GET", "HEAD"), method
    try:
        return urllib3.request(method, url, headers=headers or {}, timeout=timeout, retries=False, redirect=False)
    except (HTTPError, OSError, ValueError) as reason:
        where = f"{urlsplit(url).scheme}://{urlsplit(url).hostname}"
        raise NotKnownError(
            f"{where} does not answer here ({first_line(reason)})", "ask from where the cluster's nodes are"
        ) from None


def s3_row(work: str, endpoint: str) -> Row:
    """Whether the bucket of LINNET_WORK is there; keys are not used. Raises NotKnownError."""
    bucket = work.removeprefix("s3://").partition("/")[0]
    address = (endpoint or AMAZON).rstrip("/")
    if is_inside(urlsplit(address).hostname or ""):
        raise NotKnownError(f"{redact_credentials(address)}: {INSIDE}", "none; or ask from a pod")
    answer = _ask("HEAD", f"{address}/{bucket}")
    match answer.status:
        case 404:
            remedy = "create it, or correct LINNET_WORK and AWS_ENDPOINT_URL_S3 in the ConfigMap"
            return Row("LINNET_WORK", f"{address} has no bucket {bucket}", "missing", remedy)
        case status if status < 500:
            return Row("LINNET_WORK", f"{address} has the bucket {bucket}; the task look tries the keys")
        case status:
            raise NotKnownError(f"{address} answers HTTP {status}", "look at the server's log")


def mlflow_row(api: KubernetesApi | None, namespace: str, uri: str) -> Row:
    """Whether MLflow answers, or has pods that are ready. Raises NotKnownError."""
    parts = urlsplit(uri)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        remedy = "give the address of a server in the ConfigMap: http://linnet-mlflow:5000"
        return Row("MLflow", f"MLFLOW_TRACKING_URI ({redact_credentials(uri)}) names no server", "missing", remedy)
    if is_inside(host):
        return _service_row(api, namespace, host)
    answer = _ask("GET", f"{uri.rstrip('/')}/version")
    text = answer.data.decode("utf-8", errors="replace").strip()
    found = re.fullmatch(r"(\d+)\.\d+\S*", text)
    if answer.status in (401, 403):
        raise NotKnownError(f"{host} asks for a login (HTTP {answer.status})", "none; the task look uses the secret")
    if answer.status != 200 or found is None:
        raise NotKnownError(f"{host} answers, but not as MLflow does (HTTP {answer.status})", "correct the address")
    if int(found[1]) < OLDEST_MLFLOW:
        return Row("MLflow", f"{host} is version {text}", "missing", f"install 'mlflow>={OLDEST_MLFLOW}' there")
    return Row("MLflow", f"{host} is version {text}")


def _service_row(api: KubernetesApi | None, namespace: str, host: str) -> Row:
    """Of a name inside the cluster: whether a pod that is ready stands behind it."""
    name, _, rest = host.partition(".")
    place = rest.partition(".")[0] or namespace
    if api is None:
        raise NotKnownError(f"{host}: {INSIDE}", "none; or give a kubeconfig")
    slices = api.get(
        f"/apis/discovery.k8s.io/v1/namespaces/{place}/endpointslices",
        labelSelector=f"kubernetes.io/service-name={name}",
    )
    endpoints = [each for item in (slices or {"items": []})["items"] for each in item.get("endpoints") or ()]
    ready = sum((each.get("conditions") or {}).get("ready") is not False for each in endpoints)
    if not ready:
        remedy = f"kubectl -n {place} get service,pods -l app.kubernetes.io/name={name}"
        return Row("MLflow", f"no pod that is ready behind {name} in {place}", "missing", remedy)
    return Row(
        "MLflow", f"{ready} ready pod(s) behind {name} in {place}; not asked itself, its address is the cluster's own"
    )


def image_row(image: str, timeout: urllib3.Timeout = TIMEOUT) -> Row:
    """Whether the registry has the image, as far as it tells somebody without a login. Raises NotKnownError."""
    found = re.fullmatch(r"(?P<name>[^\s@]+)@(?P<digest>sha256:[0-9a-f]{64})", image)
    if found is None:
        remedy = "give --image or LINNET_IMAGE as NAME@sha256:DIGEST; make image PUSH=registry/linnet prints it"
        return Row(
            "image", f"{image} is not named by its digest" if image else "not asked: none given", "not known", remedy
        )
    registry, name = _registry(found["name"])
    scheme = "http" if re.match(r"(localhost|127\.0\.0\.1)(:|$)", registry) else "https"  # as docker does
    url = f"{scheme}://{registry}/v2/{name}/manifests/{found['digest']}"
    answer = _ask("HEAD", url, {"Accept": MANIFESTS}, timeout)
    challenge = answer.headers.get("WWW-Authenticate", "")
    if (
        answer.status == 401
        and challenge.startswith("Bearer ")
        and (token := _anonymous_token(challenge, name, timeout))
    ):
        answer = _ask("HEAD", url, {"Accept": MANIFESTS, "Authorization": f"Bearer {token}"}, timeout)
    match answer.status:
        case 200:
            return Row("image", f"{registry} gives it to everybody")
        case 401 | 403:
            raise NotKnownError(
                f"{registry} asks for a login (HTTP {answer.status})",
                "see that the namespace's service accounts have a pull secret (imagePullSecrets)",
            )
        case 404:
            remedy = "make image PUSH=registry/linnet pushes it and prints its name; a wrong one leaves pods Pending"
            return Row("image", f"{registry} has no {name}@{found['digest'][:19]}...", "missing", remedy)
        case status:
            raise NotKnownError(f"{registry} answers HTTP {status}", "try again")


def _registry(name: str) -> tuple[str, str]:
    """(host, name there) as docker reads it: without a host, Docker Hub."""
    host, _, rest = name.partition("/")
    if not rest or not ("." in host or ":" in host or host == "localhost"):
        host, rest = "docker.io", name
    last = rest.rpartition("/")[2]
    rest = rest.removesuffix(f":{last.partition(':')[2]}") if ":" in last else rest  # a tag beside the digest
    if host == "docker.io":
        return "registry-1.docker.io", rest if "/" in rest else f"library/{rest}"
    return host, rest


def _anonymous_token(challenge: str, name: str, timeout: urllib3.Timeout) -> str:
    """The token that a registry gives to anybody; "" if it gives none."""
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    realm = fields.get("realm", "")
    if urlsplit(realm).scheme not in ("http", "https"):
        return ""
    query = {"scope": fields.get("scope") or f"repository:{name}:pull"}
    query |= {"service": fields["service"]} if "service" in fields else {}
    answer = _ask("GET", f"{realm}?{urlencode(query)}", timeout=timeout)
    try:
        content = json.loads(answer.data)
        return str(content.get("token") or content.get("access_token") or "")
    except (ValueError, AttributeError):
        return ""
