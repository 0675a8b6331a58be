"""From a cluster's profile to the settings of the tasks' pods, through kfp-kubernetes."""

import functools

from kfp import kubernetes
from kfp.dsl import PipelineTask

from linnet.launch.manifest import SETTINGS_VARIABLE
from linnet.tasks.environment import HASH_VARIABLES, POD_GPUS_VARIABLE, WEIGHTS_VARIABLES
from pipelines.clusters.profile import Cluster, PodSize, load_cluster

CONFIG_MAP_KEYS = (
    "MLFLOW_TRACKING_URI",
    "AWS_ENDPOINT_URL_S3",
    "AWS_DEFAULT_REGION",
    "LINNET_WORK",
    "LINNET_PATIENCE",
    "LINNET_MLFLOW_UI",
    "MLFLOW_EXPERIMENT_NAME",
    "KFP_HOST",
    *(name for names in zip(WEIGHTS_VARIABLES, HASH_VARIABLES, strict=True) for name in names),
)
RUN_ID = "metadata.labels['pipeline/runid']"


BACKOFF_SECONDS, BACKOFF_FACTOR = 30, 2


@functools.cache
def _cluster() -> Cluster:
    """The profile that the pipeline is compiled for; read when it is needed, where a mistake becomes a message."""
    return load_cluster()


def configure_task(task: PipelineTask, size: PodSize, *, retries: int, cache: bool, minutes: int = 0) -> PipelineTask:
    """Set the size of the task's pod, its environment, and whether KFP may repeat or skip it.

    Args:
        task: A task of the DAG.
        size: The size of its pod.
        retries: How often it may be started again.
        cache: Whether its inputs (texts and content hashes) and the image's digest decide its outputs.
        minutes: When a pod that hangs, or never starts, is ended; 0: the hours of `size`.
    """
    chosen = _cluster().sizes[size]
    seconds = (minutes or chosen.hours * 60) * 60
    task.set_caching_options(cache)
    task.set_retry(
        retries,
        backoff_duration=f"{BACKOFF_SECONDS}s",
        backoff_factor=float(BACKOFF_FACTOR),
        backoff_max_duration=f"{longest_seconds(retries, seconds)}s",
    )
    task.set_cpu_request(chosen.cpu)
    task.set_memory_request(chosen.memory).set_memory_limit(chosen.memory)
    if chosen.gpus:
        task.set_accelerator_type(_cluster().gpu.resource).set_accelerator_limit(str(chosen.gpus))
        for label, value in _cluster().gpu.node_selector.items():
            kubernetes.add_node_selector(task, label, value)
        for taint in _cluster().gpu.tolerations:
            kubernetes.add_toleration(task, taint.key, taint.operator, taint.value, taint.effect)
    kubernetes.set_timeout(task, seconds)
    kubernetes.set_image_pull_policy(task, _cluster().pull_policy)
    kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", "Memory", chosen.shared_memory)  # noqa: S108
    _set_environment(task)
    return task


def configure_training(task: PipelineTask) -> PipelineTask:
    """Set up the task that trains: a small pod that follows a TrainJob, or a large one in which training runs."""
    size: PodSize = "cpu-small" if _cluster().trainer else "train"
    configure_task(task, size, retries=5, cache=True, minutes=_cluster().sizes["train"].hours * 60)
    if _cluster().trainer:  # moved to another node, it would look lost to KFP
        kubernetes.add_pod_annotation(task, "cluster-autoscaler.kubernetes.io/safe-to-evict", "false")
    return set_training_env(task)


def longest_seconds(retries: int, seconds: int) -> int:
    """How long all tries of a task may take together, with the waits between them.

    Argo counts a retry's maxDuration from the start of the first try and kills a healthy later one with it.
    """
    waits = sum(BACKOFF_SECONDS * int(BACKOFF_FACTOR**number) for number in range(retries))
    return (retries + 1) * seconds + waits


def _set_environment(task: PipelineTask) -> None:
    kubernetes.use_field_path_as_env(task, "LINNET_PIPELINE_RUN", RUN_ID)
    kubernetes.use_config_map_as_env(task, _cluster().config_map, {key: key for key in CONFIG_MAP_KEYS}, optional=True)
    for secret in _cluster().secrets:
        keys = {key: name for name, key in secret.keys.items()}
        kubernetes.use_secret_as_env(task, secret.secret, keys, optional=True)
    if volume := _cluster().volume:
        kubernetes.mount_pvc(task, volume.claim, volume.mount_path)


def set_training_env(task: PipelineTask) -> PipelineTask:
    """Tell `task` how training runs here: the settings of a TrainJob, or how many GPUs the pod of `train` has."""
    if _cluster().trainer:
        return task.set_env_variable(SETTINGS_VARIABLE, _cluster().trainjob().model_dump_json())
    return task.set_env_variable(POD_GPUS_VARIABLE, str(_cluster().sizes["train"].gpus))
