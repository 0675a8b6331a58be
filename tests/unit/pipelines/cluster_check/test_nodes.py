"""Sizes of pods against nodes: labels, taints, and what is allocatable."""

from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.cluster_check.nodes import node_rows, nodes_of_job, quantity, size_row
from pipelines.clusters.profile import PodSize, load_cluster
from support.cluster_api import node

A100 = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}


def big(**more: Any) -> dict[str, Any]:
    return node("big", **({"cpu": "95500m", "memory": "1000Gi", "gpus": "8", "labels": A100, "taints": [TAINT]} | more))


def found(size: PodSize, *nodes: dict[str, Any], profile: str = "a100") -> tuple[str, str]:
    cluster = load_cluster(profile)
    row = size_row(nodes, cluster, size, cluster.sizes[size])
    assert bool(row.remedy) == (row.verdict != "ok")
    return row.verdict, row.found


def test_the_largest_node_is_named_by_what_it_lacks() -> None:
    small = node("small", cpu="7900m", memory="62Gi")
    assert found("cpu-large", small, node("tiny", cpu="2", memory="30Gi")) == (
        "missing",
        "asks 16 CPU, the largest node has 7.9 CPU allocatable",
    )
    assert found("cpu-small", small)[0] == "ok"


def test_a_node_of_2_cpus_holds_the_small_profile() -> None:
    only = node("only", cpu="1800m", memory="7Gi")
    for size in load_cluster("cpu-small").sizes:
        assert found(size, only, profile="cpu-small")[0] == "ok"


@pytest.mark.parametrize(
    ("cpus", "count"), [(("1800m",), 2), (("800m",), 1), (("799m",), 0), (("700m", "100m"), 1), (("2", "1400m"), 4)]
)
def test_a_job_is_counted_beside_the_task_that_follows_it(cpus: tuple[str, ...], count: int) -> None:
    """cpu-small: 700m for each node of the job, 100m once for the task."""
    nodes = [node(f"node-{number}", cpu=cpu, memory="64Gi") for number, cpu in enumerate(cpus)]
    cluster = load_cluster("cpu-small")
    assert nodes_of_job(nodes, cluster) == count
    api = SimpleNamespace(get=lambda path: {"items": nodes})
    (row,) = [row for row in node_rows(api, cluster) if row.component == "size train"]  # type: ignore[arg-type]
    if count:
        assert f"room for {count} at once beside the task that follows them" in row.found
    else:
        assert (row.verdict, "no room beside the task that follows the TrainJob" in row.found) == ("missing", True)
        assert "[sizes.cpu-small]" in row.remedy


def test_memory_and_gpus_limit_a_job_too() -> None:
    small, a100 = load_cluster("cpu-small"), load_cluster("a100")
    assert nodes_of_job([node("only", cpu="1800m", memory="6Gi")], small) == 1
    assert nodes_of_job([big(), node("cpus", cpu="16", memory="64Gi")], a100) == 1
    assert nodes_of_job([node("cpus", cpu="95", memory="1000Gi")], a100) == 0


def test_gpus_are_counted_on_nodes_that_admit_the_pod() -> None:
    assert found("train", big()) == (
        "ok",
        "asks 88 CPU, 640 GiB, 8 nvidia.com/gpu; big has 95.5 CPU, 1e+03 GiB, 8 nvidia.com/gpu",
    )
    verdict, text = found("train", big(gpus="4"))
    assert (verdict, text) == ("missing", "asks 8 nvidia.com/gpu, the largest node has 4 nvidia.com/gpu allocatable")
    assert found("gpu", node("cpu-only", cpu="95", memory="1000Gi", labels=A100))[0] == "missing"


@pytest.mark.parametrize(
    "change",
    [
        {"labels": {"nvidia.com/gpu.product": "NVIDIA-L4"}},
        {"unschedulable": True},
        {"taints": [TAINT, {"key": "team", "value": "other", "effect": "NoExecute"}]},
    ],
)
def test_a_node_that_keeps_the_pod_out_does_not_count(change: dict[str, Any]) -> None:
    verdict, text = found("train", big(**change))
    assert verdict == "missing"
    assert "no node with nvidia.com/gpu.product=NVIDIA-A100-SXM4-80GB takes such a pod (1 nodes" in text


def test_a_pod_without_gpus_does_not_tolerate_their_nodes() -> None:
    assert found("cpu-small", big())[0] == "missing"
    assert found("cpu-small", big(taints=[{**TAINT, "effect": "PreferNoSchedule"}]))[0] == "ok"


def test_everything_has_to_be_on_one_node() -> None:
    nodes = (node("much-cpu", cpu="64", memory="8Gi"), node("much-memory", cpu="2", memory="512Gi"))
    assert found("cpu-large", *nodes) == ("missing", "asks 16 CPU, 32 GiB; no single node has all of it")


@pytest.mark.parametrize(("text", "value"), [("7900m", 7.9), ("2", 2), ("4Gi", 2**32), ("5k", 5000), ("much", 0)])
def test_quantities(text: str, value: float) -> None:
    assert float(quantity(text)) == value
