"""What the engines are and how they are set: Argo's retries, Trainer and its runtime, and the rights of tasks."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from pipelines.cluster_check.kubernetes_api import KubernetesApi
from pipelines.cluster_check.objects import APPLY
from pipelines.cluster_check.row import NotKnownError, Row
from pipelines.clusters.profile import Cluster

DEPLOY = Path(__file__).parents[2] / "deploy" / "kubernetes"
ROLE = DEPLOY / "base" / "rbac.yaml"
TRAINER = "/apis/trainer.kubeflow.org/v1alpha1"
RUNTIME = "linnet"  # the TrainingRuntime that deploy/kubernetes makes
ACCOUNTS = ("default-editor", "pipeline-runner")  # of tasks: with multi-user Kubeflow, and with Pipelines alone
ARGO_CONFIG = "workflow-controller-configmap"
RETRY_PATCH = (
    "kubectl -n {namespace} patch configmap " + ARGO_CONFIG + " --patch-file deploy/kubernetes/argo-retry.yaml (read "
    "its head), then kubectl -n {namespace} rollout restart deployment workflow-controller"
)
LOST = (
    "a task whose container fails (exit status, killed for its memory, evicted by the kubelet) ends the run at once; "
    "Retry on the run's page goes on"
)


def retry_row(api: KubernetesApi, kfp_namespace: str) -> Row:
    """What Argo repeats. Kubeflow names no policy, so the default of the controller counts."""
    component, remedy = "Argo's retries", RETRY_PATCH.format(namespace=kfp_namespace)
    found = api.get(f"/api/v1/namespaces/{kfp_namespace}/configmaps/{ARGO_CONFIG}")
    if found is None:
        return Row(
            component,
            f"there is no ConfigMap {ARGO_CONFIG} in {kfp_namespace}",
            "not known",
            "name the namespace of Kubeflow Pipelines with --kfp-namespace",
        )
    default = retry_default(found.get("data") or {})
    policy, limit = default.get("retryPolicy"), str(default.get("limit", "none"))
    match policy:
        case "Always" if limit in ("0", "none"):
            return Row(component, "Always: failed and deleted pods are repeated")
        case "Always":
            text = f"Always with limit {limit}: each layer around a failing task repeats it as often, dozens of times"
            return Row(component, text, "advice", remedy)
        case "OnFailure" | None:
            text = (
                f"{policy or 'none, so OnFailure'}: a task whose pod was deleted ends the run; failed ones are repeated"
            )
            return Row(component, text, "advice", remedy)
        case _:
            return Row(component, f"{policy}: {LOST}", "advice", remedy)


def retry_default(data: dict[str, str]) -> dict[str, Any]:
    """`templateDefaults.retryStrategy` of the controller's settings; older ones are all in the one key `config`."""
    try:
        settings = yaml.safe_load(data.get("config") or "") or {}
        workflow = yaml.safe_load(data.get("workflowDefaults") or "") or settings.get("workflowDefaults") or {}
        default = ((workflow.get("spec") or {}).get("templateDefaults") or {}).get("retryStrategy") or {}
    except (yaml.YAMLError, AttributeError):
        raise NotKnownError(
            f"{ARGO_CONFIG} cannot be read as YAML", "look at it: kubectl get configmap " + ARGO_CONFIG + " -o yaml"
        ) from None
    return dict(default)


def trainer_rows(api: KubernetesApi, cluster: Cluster, body: dict[str, Any]) -> Iterator[Row]:
    """Trainer, the runtime, and whether the server would take the TrainJob `body`."""
    if not cluster.trainer:
        text = "not needed: trainer = false trains in the task's own pod, which cannot save its last steps"
        yield Row("Trainer", text)
        return
    resources = (api.get(TRAINER) or {}).get("resources", ())
    if "trainjobs" not in {each["name"] for each in resources}:
        yield Row(
            "Trainer",
            "this cluster knows no trainjobs.trainer.kubeflow.org/v1alpha1",
            "missing",
            "install Kubeflow Trainer 2.3 or newer, or set trainer = false in the profile",
        )
        return
    yield Row("Trainer", "trainjobs.trainer.kubeflow.org/v1alpha1")
    at = f"{TRAINER}/namespaces/{cluster.namespace}"
    if api.get(f"{at}/trainingruntimes/{RUNTIME}") is None:
        yield Row("training runtime", f"no TrainingRuntime {RUNTIME} in {cluster.namespace}", "missing", APPLY)
        return
    yield Row("training runtime", f"TrainingRuntime {RUNTIME}")
    refused = api.refusal(f"{at}/trainjobs", body)
    if refused:
        remedy = "correct the profile where the server names it; or Trainer is of another version than 2.3"
        yield Row("TrainJob (dry run)", f"refused: {refused}", "missing", remedy)
    else:
        yield Row("TrainJob (dry run)", "would be taken")


def service_account(api: KubernetesApi, namespace: str) -> str:
    """As whom tasks run there. Raises NotKnownError."""
    for name in ACCOUNTS:
        if api.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}") is not None:
            return name
    raise NotKnownError(
        f"neither {' nor '.join(ACCOUNTS)} is in {namespace}",
        "with multi-user Kubeflow let a Profile make the namespace; or name the account with --service-account",
    )


def rights_row(api: KubernetesApi, cluster: Cluster, account: str) -> Row:
    """Whether tasks may do what deploy/kubernetes gives them the right to."""
    if not cluster.trainer:
        return Row("rights of tasks", "none are needed without TrainJobs")
    account = account or service_account(api, cluster.namespace)
    lacking = [
        f"{verb} {resource}"
        for group, resource, verb in needed_rights()
        if not api.may(account, cluster.namespace, verb=verb, group=group, resource=resource)
    ]
    if lacking:
        return Row(
            "rights of tasks",
            f"{account} may not {', '.join(lacking)}",
            "missing",
            APPLY,
        )
    return Row("rights of tasks", f"{account} may do all that deploy/kubernetes/base/rbac.yaml names")


def needed_rights() -> Iterable[tuple[str, str, str]]:
    """(group, resource, verb) of the roles in deploy/kubernetes; those of the whole cluster are for people."""
    for item in yaml.safe_load_all(ROLE.read_text(encoding="utf-8")):
        if item["kind"] == "Role":
            for rule in item["rules"]:
                for group in rule["apiGroups"]:
                    yield from ((group, resource, verb) for resource in rule["resources"] for verb in rule["verbs"])
