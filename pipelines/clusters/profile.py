"""A cluster's profile: sizes of pods, its GPUs, its namespace, its secrets. Nothing here changes a result."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from components.image import IMAGE
from linnet.launch.manifest import SecretEnv, Toleration, TrainJobSettings
from linnet.recipe import Section
from linnet.recipe.load import RecipeError, read_toml

PROFILE_VARIABLE = "LINNET_CLUSTER"  # the name of a profile beside this file, or the path of one elsewhere
DEFAULT_PROFILE = "a100"
PodSize = Literal["cpu-small", "cpu-large", "sample", "gpu", "train"]


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


class Cluster(Section):
    """The whole profile."""

    namespace: str
    pull_policy: Literal["Always", "IfNotPresent", "Never"]
    config_map: str
    termination_grace_seconds: PositiveInt
    trainer: bool  # whether training is a TrainJob; else it runs in the task's own pod
    gpu: Gpu
    sizes: dict[PodSize, Size]
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


def load_cluster(profile: str | None = None) -> Cluster:
    """The profile with this name or path; None means that of LINNET_CLUSTER, or else `a100`.

    Raises:
        ClusterProfileError: it is not there, or has mistakes; the message names them.
    """
    profile = profile or os.environ.get(PROFILE_VARIABLE) or DEFAULT_PROFILE
    path = Path(profile) if profile.endswith(".toml") else Path(__file__).parent / f"{profile}.toml"
    names = ", ".join(sorted(path.stem for path in Path(__file__).parent.glob("*.toml")))
    hint = f"give --cluster or {PROFILE_VARIABLE} as one of {names}, or the path of a .toml file"
    return read_toml(path, Cluster, error=ClusterProfileError, hint=hint, what="cluster profile")
