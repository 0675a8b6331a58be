"""Settings of a cluster and what is trained on it, for tests."""

import json
from typing import Any

from linnet.launch.trainjob import TrainJobSettings

KEY = "0123456789abcdef" * 4
NAME = "linnet-train-0123456789abcdef"
ARGUMENTS = ["train-shared", "s3://lab/work/nodes-0123456789abcdef"]
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
    "runtime": "our-torch",
    "gpus_per_node": 0,
    "volume_claim": "linnet-work",
    "volume_mount_path": "/mnt/linnet",
    "service_account": "default-editor",
}


def settings_of(values: dict[str, Any]) -> TrainJobSettings:
    return TrainJobSettings.model_validate_json(json.dumps(values))
