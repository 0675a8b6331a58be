"""From a cluster's profile to the settings of the tasks' pods, through kfp-kubernetes."""

from kfp import kubernetes
from kfp.dsl import PipelineTask

from linnet.tasks.environment import HASH_VARIABLES, WEIGHTS_VARIABLES
from pipelines.clusters.profile import PodSize, load_cluster

CLUSTER = load_cluster()
CONFIG_MAP_KEYS = (
    "MLFLOW_TRACKING_URI",
    "AWS_ENDPOINT_URL_S3",
    "AWS_DEFAULT_REGION",
    "LINNET_WORK",
    *(name for names in zip(WEIGHTS_VARIABLES, HASH_VARIABLES, strict=True) for name in names),
)
RUN_ID = "metadata.labels['pipeline/runid']"


def pod_resources(size: PodSize) -> dict[str, str]:
    """What a pod of this size gets, as texts for `check` to choose from."""
    chosen = CLUSTER.sizes[size]
    return {"gpus": str(chosen.gpus), "cpu": chosen.cpu, "memory": chosen.memory}


def configure_task(
    task: PipelineTask, size: PodSize, *, retries: int, cache: bool, resources_from: PipelineTask | None = None
) -> PipelineTask:
    """Set the size of the task's pod, its environment, and whether KFP may repeat or skip it.

    Args:
        task: A task of the DAG.
        size: The size of its pod.
        retries: How often it may be started again; a training goes on from its checkpoint.
        cache: Whether its inputs (texts and content hashes) and the image's digest decide its outputs.
        resources_from: The task whose outputs pod_gpus, pod_cpu and pod_memory replace those of `size`.
    """
    chosen, resources = CLUSTER.sizes[size], pod_resources(size)
    if resources_from is not None:
        resources = {name: resources_from.outputs[f"pod_{name}"] for name in resources}
    task.set_caching_options(cache)
    task.set_retry(retries, backoff_duration="30s", backoff_factor=2.0, backoff_max_duration="900s")
    task.set_cpu_request(resources["cpu"])
    task.set_memory_request(resources["memory"]).set_memory_limit(resources["memory"])
    if chosen.gpus:
        task.set_accelerator_type(CLUSTER.gpu.resource).set_accelerator_limit(resources["gpus"])
        for label, value in CLUSTER.gpu.node_selector.items():
            kubernetes.add_node_selector(task, label, value)
        for taint in CLUSTER.gpu.tolerations:
            kubernetes.add_toleration(task, taint.key, taint.operator, taint.value, taint.effect)
    kubernetes.set_timeout(task, chosen.hours * 3600)
    kubernetes.set_image_pull_policy(task, CLUSTER.pull_policy)
    kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", "Memory", chosen.shared_memory)  # noqa: S108
    _set_environment(task)
    return task


def _set_environment(task: PipelineTask) -> None:
    kubernetes.use_field_path_as_env(task, "LINNET_PIPELINE_RUN", RUN_ID)
    kubernetes.use_config_map_as_env(task, CLUSTER.config_map, {key: key for key in CONFIG_MAP_KEYS}, optional=True)
    for secret in CLUSTER.secrets:
        keys = {key: name for name, key in secret.keys.items()}
        kubernetes.use_secret_as_env(task, secret.secret, keys, optional=True)
    if CLUSTER.volume:
        kubernetes.mount_pvc(task, CLUSTER.volume.claim, CLUSTER.volume.mount_path)


def set_trainjob_env(task: PipelineTask) -> PipelineTask:
    """Give `task` the settings of a TrainJob, for training on many nodes."""
    return task.set_env_variable("LINNET_TRAINJOB", CLUSTER.trainjob().model_dump_json())
