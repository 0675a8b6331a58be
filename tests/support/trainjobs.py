"""Settings of a cluster and what is trained on it, for tests."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from linnet.launch import trainjob
from linnet.launch.trainjob import SharedFiles, TrainJobSettings, manifest
from support.kubernetes_api import KubernetesApi

KEY = "0123456789abcdef" * 4
NAME = "linnet-train-0123456789abcdef"
ARGUMENTS = ["train-node", "s3://lab/work/nodes-0123456789abcdef", "--gpus", "8", "--stop-seconds", "120"]
IMAGE = "registry.example.org/linnet@sha256:" + "a" * 64
PLAIN: dict[str, Any] = {
    "namespace": "lab",
    "image": IMAGE,
    "gpus_per_node": 8,
    "cpu": "64",
    "memory": "512Gi",
    "shared_memory": "64Gi",
    "termination_grace_seconds": 120,
    "active_deadline_seconds": 172800,
}
S3 = PLAIN | {
    "node_selector": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "environment": {"MLFLOW_TRACKING_URI": "http://linnet-mlflow:5000", "AWS_ENDPOINT_URL": "https://s3.example.org"},
    "secrets": [
        {
            "secret": "linnet-s3",
            "keys": {
                "AWS_ACCESS_KEY_ID": "AWS_ACCESS_KEY_ID",
                "AWS_SECRET_ACCESS_KEY": "AWS_SECRET_ACCESS_KEY",
            },
        }
    ],
}
VOLUME = PLAIN | {
    "gpus_per_node": 0,
    "volume_claim": "linnet-work",
    "volume_mount_path": "/mnt/linnet",
    "service_account": "default-editor",
}


def settings_of(values: dict[str, Any]) -> TrainJobSettings:
    return TrainJobSettings.model_validate_json(json.dumps(values))


def manifest_of(
    values: dict[str, Any], *, num_nodes: int = 2, arguments: Sequence[str] = tuple(ARGUMENTS)
) -> dict[str, Any]:
    settings = settings_of(values)
    return manifest(
        settings,
        key=KEY,
        num_nodes=num_nodes,
        processes_per_node=max(1, settings.gpus_per_node),
        arguments=arguments,
    )


class Files:
    """The files that nodes share, as names: what was done with them, in order."""

    def __init__(self, *, fetch: Callable[[], object] = lambda: None) -> None:
        self.done: list[str] = []
        self.told: list[bool] = []  # that the job is used: whether before it was made
        self.on_told: Callable[[], object] = lambda: None

        def fetched() -> None:
            fetch()
            self.done.append("fetch")

        self.shared = SharedFiles(
            publish=lambda: self.done.append("publish"),
            fetch=fetched,
            remove=lambda: self.done.append("remove"),
        )

    def tell_use(self, is_first: bool) -> None:
        self.on_told()
        self.told.append(is_first)


def run(
    values: dict[str, Any] = S3, *, num_nodes: int = 2, outage_seconds: float = 5.0, files: Files | None = None
) -> None:
    """The whole life of a job, against the API server that KUBECONFIG names."""
    settings, files = settings_of(values), files or Files()
    trainjob.run(
        settings,
        key=KEY,
        num_nodes=num_nodes,
        processes_per_node=max(1, settings.gpus_per_node),
        arguments=ARGUMENTS,
        files=files.shared,
        tell_use=files.tell_use,
        poll_seconds=0.01,
        outage_seconds=outage_seconds,
    )


def completes(api: KubernetesApi, *, after: int = 0) -> None:
    """Let the job run and end well, when so many looks at it have passed."""
    api.steps[after:] = [lambda: api.start_pod().write("step 1", "step 2"), lambda: api.end_job("Complete")]
