"""What has to stand in the namespace of the runs: itself, its ConfigMap, secrets, and the volume of the profile."""

from collections.abc import Iterable

from pipelines.cluster_check.kubernetes_api import KubernetesApi
from pipelines.cluster_check.row import Row
from pipelines.clusters.profile import Cluster

APPLY = "kubectl apply -k deploy/kubernetes/overlays/default (or another overlay)"
NEEDED_KEYS = ("MLFLOW_TRACKING_URI", "LINNET_WORK")
S3_KEYS = ("AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION")


def namespace_row(api: KubernetesApi, cluster: Cluster, *, kfp_namespace: str, multi_user: bool | None) -> Row:
    """Whether the profile's namespace is there, and the one in which Kubeflow Pipelines runs tasks."""
    name = cluster.namespace
    if api.get(f"/api/v1/namespaces/{name}") is None:
        return Row(
            "namespace", f"there is no {name}", "missing", f"create it, or name another in the profile ({APPLY})"
        )
    if multi_user is False and name != kfp_namespace:
        return Row(
            "namespace",
            f"the profile says {name}, and Kubeflow Pipelines alone (one user) runs tasks in its own, {kfp_namespace}",
            "missing",
            f'namespace = "{kfp_namespace}" in the profile and in deploy/kubernetes/base/kustomization.yaml',
        )
    return Row("namespace", name)


def config_map(api: KubernetesApi, cluster: Cluster) -> dict[str, str] | None:
    """The data of the ConfigMap that every task reads; None if it is not there. Raises NotKnownError."""
    found = api.get(f"/api/v1/namespaces/{cluster.namespace}/configmaps/{cluster.config_map}")
    return None if found is None else dict(found.get("data") or {})


def config_map_row(data: dict[str, str] | None, cluster: Cluster) -> Row:
    """Whether the addresses are given."""
    component = f"ConfigMap {cluster.config_map}"
    if data is None:
        return Row(component, f"not in {cluster.namespace}", "missing", APPLY)
    needed = [*NEEDED_KEYS, *(S3_KEYS if data.get("LINNET_WORK", "").startswith("s3://") else ())]
    absent = [key for key in needed if not data.get(key, "").strip()]
    where = "add it to deploy/kubernetes/base/config.yaml and apply that"
    if set(absent) & set(NEEDED_KEYS):
        return Row(component, f"lacks {', '.join(absent)}", "missing", where)
    if absent:
        return Row(component, f"lacks {', '.join(absent)}: Amazon's own are taken", "advice", where)
    return Row(component, f"has {', '.join(needed)}")


def secret_rows(api: KubernetesApi, cluster: Cluster) -> Iterable[Row]:
    """Whether the secrets have the keys that tasks read. Values are not looked at."""
    for secret in cluster.secrets:
        component = f"secret {secret.secret}"
        found = api.get(f"/api/v1/namespaces/{cluster.namespace}/secrets/{secret.secret}")
        if found is None:
            yield Row(
                component,
                "is not there; tasks start without it",
                "advice",
                "none, if nothing asks for this login; else deploy/kubernetes/secrets.example.yaml shows it",
            )
            continue
        keys = set(found.get("data") or {})
        del found
        absent = sorted(set(secret.keys.values()) - keys)
        if absent:
            remedy = "add the key (deploy/kubernetes/secrets.example.yaml), or correct [[secrets]] of the profile"
            yield Row(component, f"lacks the key {', '.join(absent)}", "missing", remedy)
        else:
            yield Row(component, f"has {', '.join(sorted(secret.keys.values()))}")


def volume_row(api: KubernetesApi, cluster: Cluster, work: str) -> Row:
    """Whether LINNET_WORK, a folder, is on the profile's volume, and that is there."""
    volume = cluster.volume
    if volume is None or not f"{work.rstrip('/')}/".startswith(f"{volume.mount_path.rstrip('/')}/"):
        return Row(
            "LINNET_WORK",
            f"{work} is no s3:// address, and on no volume of the profile: it would be lost with its pod",
            "missing",
            "give an s3:// address in the ConfigMap, or a folder of the volume that [volume] of the profile mounts",
        )
    claim = api.get(f"/api/v1/namespaces/{cluster.namespace}/persistentvolumeclaims/{volume.claim}")
    phase = (claim or {}).get("status", {}).get("phase", "not there")
    if phase == "Bound":
        return Row("LINNET_WORK", f"{work} on the volume claim {volume.claim}, which is bound")
    return Row(
        "LINNET_WORK",
        f"the volume claim {volume.claim} is {phase}",
        "missing" if claim is None else "advice",
        "take in deploy/kubernetes/components/work-volume; a claim may stay Pending until its first pod",
    )
