"""What a pipeline engine tells the processes that it starts: whether they run in a pod, and for which pipeline run."""

import os

PIPELINE_RUN_VARIABLE = "LINNET_PIPELINE_RUN"


def in_pod() -> bool:
    """Whether this process runs in a Kubernetes pod."""
    return "KUBERNETES_SERVICE_HOST" in os.environ


def pipeline_run() -> str | None:
    """The id of the pipeline run that this process belongs to, if any."""
    return os.environ.get(PIPELINE_RUN_VARIABLE) or None
