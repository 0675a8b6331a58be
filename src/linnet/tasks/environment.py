"""Where a task runs and where its files are. Nothing here imports torch, so that `look` answers soon."""

import os
from pathlib import Path

from linnet import storage
from linnet.engine import in_pod
from linnet.errors import LinnetError
from linnet.launch.cluster import TrainJobError
from linnet.launch.manifest import SETTINGS_VARIABLE, TrainJobSettings
from linnet.recipe import Recipe

WEIGHTS_VARIABLES = ("LINNET_INCEPTION_WEIGHTS", "LINNET_EMBEDDING_WEIGHTS")  # files of feature extractors
HASH_VARIABLES = ("LINNET_INCEPTION_SHA256", "LINNET_EMBEDDING_SHA256")  # the sha256 of those files
POD_GPUS_VARIABLE = "LINNET_POD_GPUS"  # how many GPUs the pod of `train` asked for, where training runs in it


class WorkLocationError(LinnetError):
    """Unfinished work would be lost with the pod, or is not visible to all nodes."""


def uses_trainjob(num_nodes: int) -> bool:
    """Whether a training becomes a TrainJob: in a pod of a cluster with Trainer always, elsewhere for several nodes.

    Raises:
        TrainJobError: it must, and this cluster has no Trainer, as far as its profile says.
    """
    if SETTINGS_VARIABLE in os.environ:
        return in_pod() or num_nodes > 1
    if num_nodes > 1:
        raise TrainJobError(
            f"num_nodes = {num_nodes} needs Kubeflow Trainer, and {SETTINGS_VARIABLE} is not set: train on one node, "
            "or submit with a cluster profile (pipelines/clusters/) that has trainer = true"
        )
    return False


def pod_gpus() -> int:
    """LINNET_POD_GPUS, the GPUs that this pod requested; 0 where nobody says it."""
    return int(os.environ.get(POD_GPUS_VARIABLE) or 0)


def work_location() -> str:
    """LINNET_WORK, the s3:// address or folder of unfinished work."""
    return os.environ.get("LINNET_WORK") or ".work"


def require_shared(work: str, settings: TrainJobSettings | None) -> None:
    """Raises WorkLocationError unless `work` outlives this pod and is visible to every node of a training.

    Args:
        work: a folder or an s3:// address.
        settings: of the TrainJob; None where training runs in this pod, which knows its own mounts.
    """
    if storage.is_s3_url(work):
        return
    if settings is None:
        if any(path.is_mount() for path in (Path(work), *Path(work).absolute().parents[:-1])):
            return
    elif settings.volume_mount_path is not None and Path(work).is_relative_to(settings.volume_mount_path):
        return
    given = (
        f"LINNET_WORK = {work} is on this pod's own disk" if "LINNET_WORK" in os.environ else "LINNET_WORK is missing"
    )
    raise WorkLocationError(
        f"{given}: set it in the ConfigMap linnet (deploy/kubernetes/base/config.yaml) to an s3:// address, or to a "
        "folder of the volume that [volume] in the cluster's profile mounts"
    )


def weights_by_absolute_path() -> dict[str, str]:
    """The variables of feature extractors' weights that are set, for processes with another working folder."""
    return {name: str(Path(os.environ[name]).resolve()) for name in WEIGHTS_VARIABLES if os.environ.get(name)}


def feature_weights(recipe: Recipe) -> tuple[Path | None, str | None]:
    """(file, sha256) of the feature extractor's weights, from LINNET_INCEPTION_* or LINNET_EMBEDDING_*."""
    index = 1 if recipe.data.kind == "audio" else 0
    path, sha256 = (os.environ.get(names[index]) for names in (WEIGHTS_VARIABLES, HASH_VARIABLES))
    return Path(path) if path else None, sha256 or None
