"""What each task asks of the cluster, from cluster.toml through kfp-kubernetes. Nothing here changes a result."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from kfp import kubernetes
from kfp.dsl import PipelineTask
from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError

from components.image import IMAGE
from linnet.errors import LinnetError
from linnet.launch.manifest import SecretEnv, Toleration, TrainJobSettings
from linnet.recipe import Section
from linnet.tasks.environment import HASH_VARIABLES, WEIGHTS_VARIABLES

CLUSTER_FILE = Path(__file__).parent / "cluster.toml"
SETTINGS = (
    "MLFLOW_TRACKING_URI",
    "AWS_ENDPOINT_URL_S3",
    "AWS_DEFAULT_REGION",
    "LINNET_WORK",
    *(name for names in zip(WEIGHTS_VARIABLES, HASH_VARIABLES, strict=True) for name in names),
)
RUN_ID = "metadata.labels['pipeline/runid']"
Kind = Literal["little", "data", "draw", "train"]


class ClusterError(LinnetError):
    """cluster.toml cannot be used."""


class Size(Section):
    """What one kind of task asks for."""

    cpu: str
    memory: str
    shared_memory: str
    gpus: NonNegativeInt
    hours: PositiveInt


class Gpu(Section):
    """Which GPUs, and how to get onto their nodes."""

    resource: str
    node_selector: dict[str, str]
    tolerations: Annotated[tuple[Toleration, ...], Field(strict=False)]


class Volume(Section):
    """A ReadWriteMany volume that all tasks and nodes see."""

    claim: str
    mount_path: str


class Cluster(Section):
    """The whole of cluster.toml."""

    namespace: str
    pull_policy: Literal["Always", "IfNotPresent", "Never"]
    config_map: str
    termination_grace_seconds: PositiveInt
    gpu: Gpu
    sizes: dict[Kind, Size]
    secrets: Annotated[tuple[SecretEnv, ...], Field(strict=False)]
    volume: Volume | None = None

    def trainjob(self) -> TrainJobSettings:
        """The same settings for the nodes of a TrainJob."""
        size = self.sizes["train"]
        return TrainJobSettings(
            namespace=self.namespace,
            image=IMAGE,
            image_pull_policy=self.pull_policy,
            gpu_resource=self.gpu.resource,
            gpus_per_node=size.gpus,
            cpu=size.cpu,
            memory=size.memory,
            shared_memory=size.shared_memory,
            node_selector=self.gpu.node_selector,
            tolerations=self.gpu.tolerations,
            secrets=self.secrets,
            volume_claim=self.volume.claim if self.volume else None,
            volume_mount_path=self.volume.mount_path if self.volume else None,
            termination_grace_seconds=self.termination_grace_seconds,
            active_deadline_seconds=size.hours * 3600,
        )


def load_cluster(path: Path = CLUSTER_FILE) -> Cluster:
    """Read cluster.toml. Raises ClusterError naming the key."""
    try:
        return Cluster.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError) as reason:
        raise ClusterError(f"{path}: cannot be read ({reason})") from None
    except ValidationError as reason:
        mistake = reason.errors()[0]
        raise ClusterError(f"{path}: {'.'.join(map(str, mistake['loc']))}: {mistake['msg']}") from None


CLUSTER = load_cluster()


def pod(kind: Kind) -> dict[str, str]:
    """What one kind of task gets, as texts for `check` to choose from."""
    size = CLUSTER.sizes[kind]
    return {"gpus": str(size.gpus), "cpu": size.cpu, "memory": size.memory}


def place(
    task: PipelineTask, kind: Kind, *, retries: int, cache: bool, sizes: PipelineTask | None = None
) -> PipelineTask:
    """Give `task` its size, its environment and its manners.

    Args:
        retries: how often it may be started again; a training goes on from its checkpoint.
        cache: whether its inputs (texts and content hashes) and the image's digest decide its outputs.
        sizes: the task whose outputs pod_gpus, pod_cpu and pod_memory say how much, in place of `kind`.
    """
    size = CLUSTER.sizes[kind]
    asked = {name: sizes.outputs[f"pod_{name}"] for name in ("gpus", "cpu", "memory")} if sizes else pod(kind)
    task.set_caching_options(cache)
    task.set_retry(retries, backoff_duration="30s", backoff_factor=2.0, backoff_max_duration="900s")
    task.set_cpu_request(asked["cpu"]).set_memory_request(asked["memory"]).set_memory_limit(asked["memory"])
    if size.gpus:
        task.set_accelerator_type(CLUSTER.gpu.resource).set_accelerator_limit(asked["gpus"])
        for label, value in CLUSTER.gpu.node_selector.items():
            kubernetes.add_node_selector(task, label, value)
        for taint in CLUSTER.gpu.tolerations:
            kubernetes.add_toleration(task, taint.key, taint.operator, taint.value, taint.effect)
    kubernetes.set_timeout(task, size.hours * 3600)
    kubernetes.set_image_pull_policy(task, CLUSTER.pull_policy)
    kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", "Memory", size.shared_memory)  # noqa: S108
    _give_environment(task)
    return task


def _give_environment(task: PipelineTask) -> None:
    kubernetes.use_field_path_as_env(task, "LINNET_PIPELINE_RUN", RUN_ID)
    kubernetes.use_config_map_as_env(task, CLUSTER.config_map, {name: name for name in SETTINGS}, optional=True)
    for secret in CLUSTER.secrets:
        keys = {key: name for name, key in secret.keys.items()}
        kubernetes.use_secret_as_env(task, secret.secret, keys, optional=True)
    if CLUSTER.volume:
        kubernetes.mount_pvc(task, CLUSTER.volume.claim, CLUSTER.volume.mount_path)


def knows_trainjobs(task: PipelineTask) -> PipelineTask:
    """Tell `task` how to have many nodes train."""
    return task.set_env_variable("LINNET_TRAINJOB", CLUSTER.trainjob().model_dump_json())
