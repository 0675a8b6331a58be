"""A real cluster for tests; without KFP_HOST and LINNET_IMAGE they are skipped."""

import os
from collections.abc import Iterator

import pytest

from pipelines import connection as to
from pipelines.clusters.profile import DEFAULT_PROFILE, PROFILE_VARIABLE, load_cluster
from support.cluster_site import Mlflow, Site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    missing = [name for name in ("KFP_HOST", "LINNET_IMAGE") if not os.environ.get(name)]
    if missing:
        pytest.skip(f"needs a real cluster: {' and '.join(missing)} not set")
    profile = load_cluster()
    namespace = os.environ.get("KFP_NAMESPACE", "")
    connection = to.read_connection(os.environ["KFP_HOST"], namespace, "linnet-cluster-test", to.TOKEN_VARIABLE)
    chosen = os.environ.get(PROFILE_VARIABLE) or DEFAULT_PROFILE
    with to.compiled(os.environ["LINNET_IMAGE"], chosen) as package, to.connected(connection) as client:
        made = Site(profile, package, connection, client, tmp_path_factory.mktemp("recipes"))
        try:
            yield made
        finally:
            made.remove_runs()


@pytest.fixture(scope="session")
def mlflow(site: Site) -> Iterator[Mlflow]:
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri.startswith("http"):
        pytest.skip("needs the cluster's MLflow: MLFLOW_TRACKING_URI, such as that of a port-forward")
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    registry = Mlflow(client, site)
    yield registry
    registry.clean_up()


@pytest.fixture(scope="session")
def undisturbed(site: Site) -> str:
    """The id of a run that nothing befell."""
    run_id = site.submit("undisturbed", caching=False)
    assert site.end_of(run_id) == "SUCCEEDED"
    return run_id
