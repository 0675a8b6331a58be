"""A cluster's profile: sizes of pods, its GPUs, its namespace, its secrets. Nothing here changes a result."""

import os
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt, ValidationError
from pydantic_core import ErrorDetails

from linnet.launch.manifest import SecretEnv, Toleration, TrainJobSettings
from linnet.recipe import Section
from linnet.recipe.load import RecipeError, read_toml

PROFILE_VARIABLE = "LINNET_CLUSTER"  # the name of a profile beside this file, or the path of one elsewhere
DEFAULT_PROFILE = "a100"
PodSize = Literal["cpu-small", "cpu-large", "sample", "gpu", "train"]
IMAGE_VARIABLE, LOCAL_IMAGE = "LINNET_IMAGE", "linnet:dev"  # as in components/image.py


class ClusterProfileError(RecipeError):
    """The cluster's profile cannot be used; treated like a mistake in a recipe."""


class Size(Section):
    """What a pod of one size gets."""

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


def _has_all_sizes(sizes: dict[PodSize, "Size"]) -> dict[PodSize, "Size"]:
    if missing := [size for size in get_args(PodSize) if size not in sizes]:
        raise ValueError(f"{', '.join(missing)} is missing; add a table such as [sizes.{missing[0]}]")
    return sizes


class Cluster(Section):
    """The whole profile."""

    namespace: str
    pull_policy: Literal["Always", "IfNotPresent", "Never"]
    config_map: str
    termination_grace_seconds: PositiveInt
    trainer: bool  # whether training is a TrainJob; else it runs in the task's own pod
    gpu: Gpu
    sizes: Annotated[dict[PodSize, Size], AfterValidator(_has_all_sizes)]
    secrets: Annotated[tuple[SecretEnv, ...], Field(strict=False)]
    volume: Volume | None = None

    def trainjob(self) -> TrainJobSettings:
        """The same settings for the nodes of a TrainJob.

        The image is that of the environment: importing `components` here would fix theirs before a command has set it.
        """
        size = self.sizes["train"]
        return TrainJobSettings(
            namespace=self.namespace,
            image=os.environ.get(IMAGE_VARIABLE) or LOCAL_IMAGE,
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


def load_cluster(profile: str | None = None) -> Cluster:
    """The profile with this name or path; None means that of LINNET_CLUSTER, or else `a100`.

    Raises:
        ClusterProfileError: it is not there, or has mistakes; the message names them.
    """
    profile = profile or os.environ.get(PROFILE_VARIABLE) or DEFAULT_PROFILE
    path = Path(profile) if profile.endswith(".toml") else Path(__file__).parent / f"{profile}.toml"
    names = ", ".join(sorted(path.stem for path in Path(__file__).parent.glob("*.toml")))
    hint = f"give --cluster or {PROFILE_VARIABLE} as one of {names}, or the path of a .toml file"
    cluster = read_toml(path, Cluster, error=ClusterProfileError, hint=hint, what="cluster profile")
    if cluster.trainer:
        try:
            cluster.trainjob()
        except ValidationError as mistakes:
            lines = (_explain(cluster, detail) for detail in mistakes.errors())
            raise ClusterProfileError("\n".join(f"{path}: {line}" for line in lines)) from None
    return cluster


# where a setting of a TrainJob comes from, and how it is written
OF_PROFILE = {
    "namespace": ("namespace", "at the top", "a name of small letters, digits and '-', such as 'linnet'"),
    "cpu": ("cpu", "in [sizes.train]", "a number, such as '4' or '1500m'"),
    "memory": ("memory", "in [sizes.train]", "a number and a unit, such as '16Gi'"),
    "shared_memory": ("shared_memory", "in [sizes.train]", "a number and a unit, such as '8Gi'"),
    "volume_claim": ("claim", "in [volume]", "a name of small letters, digits and '-', such as 'linnet-work'"),
    "volume_mount_path": ("mount_path", "in [volume]", "a folder without ':', such as '/mnt/linnet'"),
}


def _explain(cluster: Cluster, detail: ErrorDetails) -> str:
    """A mistake that only a TrainJob makes one of, in the words of the profile."""
    setting = str(detail["loc"][0]) if detail["loc"] else ""
    if setting in OF_PROFILE:
        key, where, remedy = OF_PROFILE[setting]
        return f"{key} = {detail['input']!r} {where}: a TrainJob cannot have this; write {remedy}"
    message = detail["msg"].removeprefix("Value error, ")
    if message.startswith("image_pull_policy"):
        return f"pull_policy = {cluster.pull_policy!r} at the top: {message}"
    if setting:
        return f"{'.'.join(map(str, detail['loc']))} = {detail['input']!r}: {message}; correct it"
    return f"[[secrets]]: {message}"
