"""Names of images and of hosts, and servers that answer otherwise than expected."""

from collections.abc import Iterator

import pytest

from pipelines.cluster_check import services
from pipelines.cluster_check.row import NotKnownError
from support.cluster_api import DIGEST, ClusterApi, running_cluster


@pytest.fixture
def server() -> Iterator[ClusterApi]:
    with running_cluster() as running:
        yield running


@pytest.mark.parametrize(
    ("name", "host", "path"),
    [
        ("registry.lab/team/linnet", "registry.lab", "team/linnet"),
        ("localhost:5000/linnet:v1", "localhost:5000", "linnet"),
        ("team/linnet", "registry-1.docker.io", "team/linnet"),
        ("linnet", "registry-1.docker.io", "library/linnet"),
        ("docker.io/linnet", "registry-1.docker.io", "library/linnet"),
    ],
)
def test_registries_are_found_as_docker_finds_them(name: str, host: str, path: str) -> None:
    assert services._registry(name) == (host, path)


@pytest.mark.parametrize("host", ["linnet-mlflow", "mlflow.ns.svc", "mlflow.ns.svc.cluster.local"])
def test_names_of_services_are_the_clusters_own(host: str) -> None:
    assert services.is_inside(host)
    with pytest.raises(NotKnownError, match="the cluster's own"):
        services.s3_row("s3://birds/work", f"http://{host}:9000")
    with pytest.raises(NotKnownError, match="the cluster's own"):
        services.mlflow_row(None, "linnet", f"http://{host}:5000")


def test_an_image_without_a_digest_is_not_asked_for(server: ClusterApi) -> None:
    assert services.image_row("").verdict == "not known"
    assert "not named by its digest" in services.image_row("registry.lab/linnet:v1").found
    assert services.image_row(server.image).verdict == "ok"
    assert f"HEAD /v2/linnet/manifests/{DIGEST}" in server.requests


@pytest.mark.parametrize("uri", ["", "sqlite:///mlflow.db", "linnet-mlflow:5000"])
def test_mlflow_has_to_be_a_server(uri: str) -> None:
    assert services.mlflow_row(None, "linnet", uri).verdict == "missing"


def test_a_server_that_is_no_mlflow_is_not_known(server: ClusterApi) -> None:
    with pytest.raises(NotKnownError, match="not as MLflow does"):
        services.mlflow_row(None, "linnet", server.url)


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(NotKnownError) as caught:
        services.s3_row("s3://birds/work", "http://bird:hunter2@minio:9000")
    assert "hunter2" not in str(caught.value)


def test_a_bucket_that_is_private_is_there(server: ClusterApi) -> None:
    server.forbidden.add("/birds")
    assert services.s3_row("s3://birds/work", server.url).verdict == "ok"
    server.status = 503
    with pytest.raises(NotKnownError, match="HTTP 503"):
        services.s3_row("s3://birds/work", server.url)
