"""Whether a node of the cluster holds a pod of each size of the profile."""

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from kubernetes.utils import parse_quantity

from linnet.launch.manifest import Toleration
from pipelines.cluster_check.kubernetes_api import KubernetesApi
from pipelines.cluster_check.row import Row
from pipelines.clusters.profile import Cluster, PodSize, Size

Json = dict[str, Any]
GIB = Decimal(2**30)


def node_rows(api: KubernetesApi, cluster: Cluster) -> Iterable[Row]:
    """One row a size of pod. Raises NotKnownError."""
    nodes = (api.get("/api/v1/nodes") or {"items": []})["items"]
    for name, size in cluster.sizes.items():
        row = size_row(nodes, cluster, name, size)
        yield _beside_its_follower(nodes, cluster, row) if name == "train" and cluster.trainer else row


def size_row(nodes: Sequence[Json], cluster: Cluster, name: PodSize, size: Size) -> Row:
    """Whether one of `nodes` has room for an otherwise empty pod of this size."""
    component = f"size {name}"
    wanted = _wanted(cluster, size)
    selector = cluster.gpu.node_selector if _is_selected(cluster, name, size) else {}
    allowed = _allowed(nodes, cluster, name, size)
    asks = f"asks {', '.join(_amount(resource, value) for resource, value in wanted.items())}"
    if not allowed:
        where = f" with {', '.join(f'{key}={value}' for key, value in selector.items())}" if selector else ""
        return Row(
            component,
            f"{asks}; no node{where} takes such a pod ({len(nodes)} nodes, labels and taints considered)",
            "missing",
            "correct node_selector and tolerations in [gpu] of the profile (kubectl describe nodes shows labels and "
            "taints), or add such nodes",
        )
    fitting = [node for node in allowed if all(_has(node, key) >= value for key, value in wanted.items())]
    if fitting:
        return Row(component, f"{asks}; {fitting[0]['metadata']['name']} has {_amounts(fitting[0], wanted)}")
    largest = {resource: max(_has(node, resource) for node in allowed) for resource in wanted}
    short = {resource: value for resource, value in wanted.items() if largest[resource] < value}
    if short:
        reason = ", ".join(
            f"asks {_amount(key, value)}, the largest node has {_amount(key, largest[key])} allocatable"
            for key, value in short.items()
        )
    else:
        reason = f"{asks}; no single node has all of it"
    return Row(component, reason, "missing", f"lower [sizes.{name}] of the profile, or add larger nodes")


def nodes_of_job(nodes: Sequence[Json], cluster: Cluster) -> int:
    """How many nodes of a TrainJob have room at once on otherwise empty `nodes`, beside the task that follows it."""
    follower, node_of_job = cluster.sizes["cpu-small"], cluster.sizes["train"]
    asked, taken = _wanted(cluster, node_of_job), _wanted(cluster, follower)

    def count(node: Json, used: dict[str, Decimal]) -> int:
        free = {key: _has(node, key) - used.get(key, Decimal(0)) for key in asked}
        return min(int(free[key] // value) if value else len(nodes) for key, value in asked.items())

    counts = {node["metadata"]["name"]: count(node, {}) for node in _allowed(nodes, cluster, "train", node_of_job)}
    hosts = _allowed(nodes, cluster, "cpu-small", follower)
    hosts = [node for node in hosts if all(_has(node, key) >= value for key, value in taken.items())]
    names = {node["metadata"]["name"]: node for node in hosts}
    lost = (counts[name] - count(node, taken) if name in counts else 0 for name, node in names.items())
    return sum(counts.values()) - min(lost, default=0)


def _beside_its_follower(nodes: Sequence[Json], cluster: Cluster, row: Row) -> Row:
    """The row of the size train, with what the task that follows a TrainJob leaves to it."""
    if row.verdict != "ok":
        return row
    if count := nodes_of_job(nodes, cluster):
        return Row(row.component, f"{row.found}; room for {count} at once beside the task that follows them")
    taken = _wanted(cluster, cluster.sizes["cpu-small"])
    follower = ", ".join(_amount(resource, value) for resource, value in taken.items())
    return Row(
        row.component,
        f"{row.found}; no room beside the task that follows the TrainJob, which asks {follower} (cpu-small)",
        "missing",
        "lower cpu or memory in [sizes.train] or [sizes.cpu-small] of the profile, or add nodes",
    )


def _is_selected(cluster: Cluster, name: PodSize, size: Size) -> bool:
    """A TrainJob's pods get the selector whether or not they request GPUs; other tasks only with GPUs."""
    return bool(size.gpus) or (name == "train" and cluster.trainer)


def _allowed(nodes: Sequence[Json], cluster: Cluster, name: PodSize, size: Size) -> list[Json]:
    """The nodes whose labels and taints let such a pod in."""
    selected = _is_selected(cluster, name, size)
    selector = cluster.gpu.node_selector if selected else {}
    tolerations = cluster.gpu.tolerations if selected else ()
    return [node for node in nodes if _labels(node).items() >= selector.items() and _admits(node, tolerations)]


def _wanted(cluster: Cluster, size: Size) -> dict[str, Decimal]:
    wanted = {"cpu": quantity(size.cpu), "memory": quantity(size.memory)}
    return wanted | ({cluster.gpu.resource: Decimal(size.gpus)} if size.gpus else {})


def quantity(text: str) -> Decimal:
    """A number as Kubernetes writes it, such as 500m or 4Gi; what is no number counts as none."""
    try:
        return Decimal(parse_quantity(text))
    except (ValueError, InvalidOperation):
        return Decimal(0)


def _has(node: Json, resource: str) -> Decimal:
    allocatable = node.get("status", {}).get("allocatable", {})
    return quantity(allocatable[resource]) if resource in allocatable else Decimal(0)


def _labels(node: Json) -> dict[str, str]:
    labels: dict[str, str] = node["metadata"].get("labels") or {}
    return labels


def _admits(node: Json, tolerations: Iterable[Toleration]) -> bool:
    """Whether new pods with these tolerations may be placed there."""
    spec = node.get("spec", {})
    taints = [taint for taint in spec.get("taints") or () if taint.get("effect") in ("NoSchedule", "NoExecute")]
    if spec.get("unschedulable"):
        return False
    return all(any(_tolerates(each, taint) for each in tolerations) for taint in taints)


def _tolerates(toleration: Toleration, taint: Json) -> bool:
    if toleration.effect not in (None, taint["effect"]):
        return False
    if toleration.key is None:
        return toleration.operator == "Exists"
    if toleration.key != taint["key"]:
        return False
    return toleration.operator == "Exists" or (toleration.value or "") == (taint.get("value") or "")


def _amounts(node: Json, wanted: dict[str, Decimal]) -> str:
    return ", ".join(_amount(resource, _has(node, resource)) for resource in wanted)


def _amount(resource: str, value: Decimal) -> str:
    match resource:
        case "cpu":
            return f"{float(value):g} CPU"
        case "memory":
            return f"{float(value / GIB):.3g} GiB"
        case _:
            return f"{int(value)} {resource}"
