"""What a TrainJob on several nodes looks like: settings of the cluster in, the whole resource out.

The resource is written here as plain data. The SDK's environment is str to str and cannot say `secretKeyRef`, so keys
would have to travel in the open. API: trainer.kubeflow.org/v1alpha1 of Kubeflow Trainer v2.3,
https://www.kubeflow.org/docs/components/trainer/
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, StringConstraints, ValidationError, model_validator

from linnet.launch.cluster import GROUP, VERSION, TrainJobError
from linnet.recipe import Section

VARIABLE = "LINNET_TRAINJOB"
NAME_LABEL, KEY, SPEC_HASH = "app.kubernetes.io/name", "linnet/training-key", "linnet/spec-sha256"
NODE = "node"  # the replicated job, and its container, in Trainer's runtimes
LONGEST_LABEL = 63
PIPELINE_RUN_VARIABLE = "LINNET_PIPELINE_RUN"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
Label = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=LONGEST_LABEL)]
Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$")]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Folder = Annotated[str, StringConstraints(pattern=r"^/[^:]+$")]


class Toleration(Section):
    """A taint that the pods may run beside, in the words of Kubernetes."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class SecretEnv(Section):
    """Environment variables that hold keys of one Kubernetes secret."""

    secret: Name
    keys: dict[Variable, str]


class TrainJobSettings(Section):
    """Where training on several nodes runs; nothing here changes what comes out.

    pipelines/clusters/default.toml says it all, but for `environment`, which the train task adds, and for `runtime` and
    `service_account`, which are what is said here unless somebody writes LINNET_TRAINJOB by hand.
    """

    namespace: Label
    runtime: Name = "torch-distributed"  # a ClusterTrainingRuntime with a torch policy
    image: Annotated[str, StringConstraints(pattern=r"^\S+$")]
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    gpu_resource: str = "nvidia.com/gpu"
    gpus_per_node: NonNegativeInt
    cpu: Quantity
    memory: Quantity  # the shared memory counts in
    shared_memory: Quantity
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: Annotated[tuple[Toleration, ...], Field(strict=False)] = ()
    environment: dict[Variable, str] = Field(default_factory=dict)
    secrets: Annotated[tuple[SecretEnv, ...], Field(strict=False)] = ()
    volume_claim: Name | None = None  # a ReadWriteMany volume with the training state; without it, s3://
    volume_mount_path: Folder | None = None
    service_account: Name | None = None
    termination_grace_seconds: PositiveInt  # for the last checkpoint
    active_deadline_seconds: PositiveInt

    @model_validator(mode="after")
    def _one_value_a_variable(self) -> Self:
        names = [*self.environment, *(name for secret in self.secrets for name in secret.keys)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} is set twice; leave it in `environment` or in one of `secrets`")
        if reserved := [name for name in names if name.startswith("PET_")]:
            raise ValueError(f"{reserved[0]} is for Kubeflow Trainer to set; leave it out")
        return self

    @model_validator(mode="after")
    def _a_volume_has_a_place(self) -> Self:
        if (self.volume_claim is None) != (self.volume_mount_path is None):
            raise ValueError("volume_claim and volume_mount_path belong together; set both or neither")
        return self

    @model_validator(mode="after")
    def _pull_policy_is_what_happens(self) -> Self:
        """A TrainJob has no field for it, so the pods get what Kubernetes derives from the image's name."""
        fixed = "@" in self.image or (":" in (tail := self.image.rpartition("/")[2]) and not tail.endswith(":latest"))
        if (self.image_pull_policy == "Always") == fixed:
            raise ValueError(
                f"image_pull_policy {self.image_pull_policy} cannot be said in a TrainJob, and Kubernetes pulls "
                f"{self.image} {'once' if fixed else 'always'}; name the image by digest and set IfNotPresent"
            )
        return self

    @classmethod
    def from_environment(cls) -> Self:
        """Settings from the JSON in LINNET_TRAINJOB. Raises TrainJobError naming what to set."""
        text = os.environ.get(VARIABLE)
        if not text:
            raise TrainJobError(
                f"training on several nodes needs {VARIABLE}, which pipelines/clusters/default.toml sets; or train "
                "on one node"
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as reason:
            mistake = reason.errors()[0]
            where = ".".join(str(part) for part in mistake["loc"])
            raise TrainJobError(
                f"{VARIABLE}: {where + ': ' if where else ''}{mistake['msg'].removeprefix('Value error, ')}; correct "
                "it in pipelines/clusters/default.toml"
            ) from None


def job_name(key: str) -> str:
    """The name of the one TrainJob that makes the result `key` (a hex digest)."""
    assert re.fullmatch(r"[0-9a-f]{16,}", key), key
    return f"linnet-train-{key[:16]}"


def manifest(settings: TrainJobSettings, *, key: str, num_nodes: int, arguments: Sequence[str]) -> dict[str, Any]:
    """The whole TrainJob: `torchrun -m linnet <arguments>` on `num_nodes` nodes, one process a GPU."""
    assert num_nodes >= 1, num_nodes
    assert arguments
    resources = {"cpu": settings.cpu, "memory": settings.memory}
    if settings.gpus_per_node:
        resources[settings.gpu_resource] = str(settings.gpus_per_node)
    spec = {
        "runtimeRef": {"apiGroup": GROUP, "kind": "ClusterTrainingRuntime", "name": settings.runtime},
        "activeDeadlineSeconds": settings.active_deadline_seconds,
        "trainer": {
            "image": settings.image,
            "command": ["torchrun", "-m", "linnet"],
            "args": list(arguments),
            "env": _environment(settings),
            "numNodes": num_nodes,
            "numProcPerNode": max(settings.gpus_per_node, 1),
            # both: from limits alone, Trainer's torch plugin derives one process a node
            "resourcesPerNode": {"requests": resources, "limits": dict(resources)},
        },
        "runtimePatches": [_patch(settings, labels=_labels(key))],
    }
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": {
            "name": job_name(key),
            "namespace": settings.namespace,
            "labels": _labels(key),
            "annotations": {KEY: key, SPEC_HASH: _hash(spec)},
        },
        "spec": spec,
    }


def _labels(key: str) -> dict[str, str]:
    return {NAME_LABEL: "linnet", KEY: key[:LONGEST_LABEL]}


def _hash(spec: Mapping[str, Any]) -> str:
    """Of the spec as we wrote it: the cluster fills in defaults, so that what it returns never compares equal.

    Whose pipeline run it is does not count: two runs that want the same result share a job, or they would take it away
    from each other.
    """
    variables = [variable for variable in spec["trainer"]["env"] if variable["name"] != PIPELINE_RUN_VARIABLE]
    counted = {**spec, "trainer": {**spec["trainer"], "env": variables}}
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()


def _environment(settings: TrainJobSettings) -> list[dict[str, Any]]:
    variables: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in settings.environment.items()]
    for secret in settings.secrets:
        for name, key in secret.keys.items():
            # optional: a pod without its secret starts and says which one it misses, instead of waiting for ever
            reference = {"name": secret.secret, "key": key, "optional": True}
            variables.append({"name": name, "valueFrom": {"secretKeyRef": reference}})
    return sorted(variables, key=lambda variable: str(variable["name"]))


def _patch(settings: TrainJobSettings, *, labels: Mapping[str, str]) -> dict[str, Any]:
    """Changes to the runtime's pods. Environment is no part of it: Trainer's webhook refuses that here."""
    volumes: list[dict[str, Any]] = [
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": settings.shared_memory}}
    ]
    mounts = [{"name": "shared-memory", "mountPath": "/dev/shm"}]  # noqa: S108 - NCCL and data loaders live there
    if settings.volume_claim is not None:
        volumes.append({"name": "work", "persistentVolumeClaim": {"claimName": settings.volume_claim}})
        mounts.append({"name": "work", "mountPath": str(settings.volume_mount_path)})
    pod: dict[str, Any] = {
        "terminationGracePeriodSeconds": settings.termination_grace_seconds,
        "volumes": volumes,
        "containers": [{"name": NODE, "volumeMounts": mounts}],
    }
    if settings.node_selector:
        pod["nodeSelector"] = dict(settings.node_selector)
    if settings.tolerations:
        pod["tolerations"] = [toleration.model_dump(exclude_none=True) for toleration in settings.tolerations]
    if settings.service_account is not None:
        pod["serviceAccountName"] = settings.service_account
    # Kubeflow's profiles inject Istio, whose sidecar cuts the ranks off from each other and never ends
    metadata = {"labels": {**labels, "sidecar.istio.io/inject": "false"}}
    job = {"name": NODE, "template": {"spec": {"template": {"metadata": metadata, "spec": pod}}}}
    return {
        "manager": "linnet/pipeline",
        "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [job]}}},
    }
