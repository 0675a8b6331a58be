"""All questions, in the order in which a run would meet the answers."""

from collections.abc import Iterator
from typing import Any

from linnet.launch.manifest import manifest
from pipelines.cluster_check import engines, nodes, objects, services
from pipelines.cluster_check.kfp_api import ask_kfp
from pipelines.cluster_check.kubernetes_api import KubernetesApi, NotAskedError, UnreachableError
from pipelines.cluster_check.row import NotKnownError, Row, row_or_not_known
from pipelines.clusters.profile import Cluster

KUBERNETES = "Kubernetes"
PROBE_KEY = "0" * 16 + "c" * 48  # of a result that nobody asks for


def ask_all(
    cluster: Cluster,
    *,
    image: str,
    host: str,
    namespace: str,
    token_env: str,
    kfp_namespace: str,
    service_account: str,
) -> Iterator[Row]:
    """The rows of the table, each as soon as it is known."""
    api, row = _kubernetes()
    yield row
    kfp = ask_kfp(host, namespace or cluster.namespace, token_env, api, kfp_namespace)
    yield kfp.row
    if api is None:
        for component in ("Argo's retries", "namespace", "Trainer", "rights of tasks", "sizes", "ConfigMap", "secrets"):
            yield Row(component, f"not asked: {row.found}", "not known", row.remedy)
        yield from row_or_not_known("image", lambda: services.image_row(image))
        return
    yield from row_or_not_known("Argo's retries", lambda: engines.retry_row(api, kfp_namespace))
    yield from row_or_not_known(
        "namespace",
        lambda: objects.namespace_row(api, cluster, kfp_namespace=kfp_namespace, multi_user=kfp.multi_user),
    )
    yield from row_or_not_known("Trainer", lambda: engines.trainer_rows(api, cluster, probe_job(cluster)))
    yield from row_or_not_known("rights of tasks", lambda: engines.rights_row(api, cluster, service_account))
    yield from row_or_not_known("sizes", lambda: nodes.node_rows(api, cluster))
    yield from row_or_not_known("image", lambda: services.image_row(image))
    yield from _addresses(api, cluster)
    yield from row_or_not_known("secrets", lambda: objects.secret_rows(api, cluster))


def probe_job(cluster: Cluster) -> dict[str, Any]:
    """A TrainJob as `train` would create it, for a dry run; for one node, because the number is no setting."""
    job = manifest(
        cluster.trainjob(),
        key=PROBE_KEY,
        num_nodes=1,
        processes_per_node=1,
        arguments=["train-shared", "s3://probe/probe"],
    )
    return dict(job)


def _kubernetes() -> tuple[KubernetesApi | None, Row]:
    try:
        api = KubernetesApi()
        version = (api.get("/version") or {}).get("gitVersion", "of a version it does not tell")
    except NotAskedError as reason:
        return None, Row(KUBERNETES, str(reason), "not known", reason.remedy)
    except UnreachableError as reason:
        return None, Row(KUBERNETES, str(reason), "missing", reason.remedy)
    except NotKnownError:  # it answers, and does not tell its version to everybody
        version = "of a version it does not tell"
    return api, Row(KUBERNETES, f"{api.address} is {version}")


def _addresses(api: KubernetesApi, cluster: Cluster) -> Iterator[Row]:
    """The ConfigMap, and the servers that it names."""
    try:
        data = objects.config_map(api, cluster)
    except NotKnownError as reason:
        yield Row("ConfigMap", f"not known: {reason}", "not known", reason.remedy)
        return
    yield objects.config_map_row(data, cluster)
    if work := (data or {}).get("LINNET_WORK", "").strip():
        endpoint = (data or {}).get("AWS_ENDPOINT_URL_S3", "").strip()
        if work.startswith("s3://"):
            yield from row_or_not_known("LINNET_WORK", lambda: services.s3_row(work, endpoint))
        else:
            yield from row_or_not_known("LINNET_WORK", lambda: objects.volume_row(api, cluster, work))
    if uri := (data or {}).get("MLFLOW_TRACKING_URI", "").strip():
        yield from row_or_not_known("MLflow", lambda: services.mlflow_row(api, cluster.namespace, uri))
