"""The TrainJob of a training run: settings of the cluster in, the whole resource out.

The resource is plain data, because the environment in Kubeflow's SDK maps str to str and has no `secretKeyRef`: keys
would be readable in the job. API: trainer.kubeflow.org/v1alpha1 of Kubeflow Trainer v2.3,
https://www.kubeflow.org/docs/components/trainer/
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, StringConstraints, ValidationError, model_validator

from linnet.engine import PIPELINE_RUN_VARIABLE
from linnet.launch.cluster import GROUP, VERSION, TrainJobError
from linnet.launch.node import ATTEMPT_VARIABLE, RENDEZVOUS_VARIABLE
from linnet.recipe import Section

SETTINGS_VARIABLE = "LINNET_TRAINJOB"
NAME_LABEL, KEY, SPEC_HASH = "app.kubernetes.io/name", "linnet/training-key", "linnet/spec-sha256"
NODE = "node"  # the replicated job, and its container, in Trainer's runtimes
MAX_LABEL_LENGTH = 63
JOB_PREFIX = "linnet-train-"
ATTEMPT_LABEL = "jobset.sigs.k8s.io/restart-attempt"  # on every pod; JobSet counts from 0
JOB_UID_LABEL = "batch.kubernetes.io/controller-uid"  # a new one at every attempt, the same on all nodes
DOWNWARD = {ATTEMPT_VARIABLE: ATTEMPT_LABEL, RENDEZVOUS_VARIABLE: JOB_UID_LABEL}

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
Label = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=MAX_LABEL_LENGTH)]
Cpus = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?m?$")]
Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$")]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Folder = Annotated[str, StringConstraints(pattern=r"^/[^:]+$")]


class Toleration(Section):
    """A toleration of the pods, as Kubernetes writes it."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class SecretEnv(Section):
    """Environment variables that hold the keys of one Kubernetes secret."""

    secret: Name
    keys: dict[Variable, str]


class TrainJobSettings(Section):
    """Where training on a cluster runs; nothing here changes the result.

    The values are those of the cluster's profile in pipelines/clusters/. `environment` is added by the train task;
    `runtime` and `service_account` have their defaults unless somebody writes LINNET_TRAINJOB by hand.
    """

    namespace: Label
    runtime: Name = "linnet"  # the TrainingRuntime of deploy/kubernetes/base/training-runtime.yaml
    image: Annotated[str, StringConstraints(pattern=r"^\S+$")]
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    gpu_resource: str = "nvidia.com/gpu"
    gpus_per_node: NonNegativeInt
    cpu: Cpus  # requested, without a limit
    memory: Quantity  # includes the shared memory
    shared_memory: Quantity
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: Annotated[tuple[Toleration, ...], Field(strict=False)] = ()
    environment: dict[Variable, str] = Field(default_factory=dict)
    secrets: Annotated[tuple[SecretEnv, ...], Field(strict=False)] = ()
    volume_claim: Name | None = None  # a ReadWriteMany volume for checkpoints; without it, they are in s3://
    volume_mount_path: Folder | None = None
    service_account: Name | None = None
    termination_grace_seconds: PositiveInt  # for the last checkpoint
    active_deadline_seconds: PositiveInt

    @property
    def whole_cpus(self) -> int:
        """The CPUs of a node, without the fraction."""
        return int(float(self.cpu.removesuffix("m")) / (1000 if self.cpu.endswith("m") else 1))

    @model_validator(mode="after")
    def _variables_are_set_once(self) -> Self:
        names = [*self.environment, *(name for secret in self.secrets for name in secret.keys)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} is set twice; leave it in `environment` or in one of `secrets`")
        if reserved := [name for name in names if name.startswith("PET_")]:
            raise ValueError(f"{reserved[0]} is for Kubeflow Trainer to set; leave it out")
        return self

    @model_validator(mode="after")
    def _volume_is_mounted(self) -> Self:
        if (self.volume_claim is None) != (self.volume_mount_path is None):
            raise ValueError("volume_claim and volume_mount_path belong together; set both or neither")
        return self

    @model_validator(mode="after")
    def _pull_policy_can_be_had(self) -> Self:
        """A TrainJob has no field for it: Kubernetes derives the policy from the name of the image."""
        tail = self.image.rpartition("/")[2]
        pulled_once = "@" in self.image or (":" in tail and not tail.endswith(":latest"))
        if (self.image_pull_policy == "Always") == pulled_once:
            raise ValueError(
                f"image_pull_policy {self.image_pull_policy} cannot be set in a TrainJob, and Kubernetes pulls "
                f"{self.image} {'once' if pulled_once else 'always'}; name the image by digest and set IfNotPresent"
            )
        return self

    @classmethod
    def from_environment(cls) -> Self:
        """The settings from the JSON in LINNET_TRAINJOB. Raises TrainJobError, which names what to set."""
        text = os.environ.get(SETTINGS_VARIABLE)
        if not text:
            raise TrainJobError(
                f"training on several nodes needs {SETTINGS_VARIABLE}, which the cluster's profile sets for "
                "clusters with Kubeflow Trainer; or train on one node"
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as reason:
            mistake = reason.errors()[0]
            key = ".".join(str(name) for name in mistake["loc"])
            message = f"{key + ': ' if key else ''}{mistake['msg'].removeprefix('Value error, ')}"
            raise TrainJobError(f"{SETTINGS_VARIABLE}: {message}; correct it in the cluster's profile") from None


def job_name(key: str) -> str:
    """The name of the one TrainJob that makes the result with hash `key`."""
    assert re.fullmatch(r"[0-9a-f]{16,}", key), key
    return f"{JOB_PREFIX}{key[:16]}"


def manifest(
    settings: TrainJobSettings, *, key: str, num_nodes: int, processes_per_node: int, arguments: Sequence[str]
) -> dict[str, Any]:
    """The TrainJob that runs `linnet <arguments>` as the first process of `num_nodes` pods.

    A request without a limit for the CPU: a limit would throttle. GPUs are named also where there are none, because
    Trainer adds the resources of the runtime that the job does not name.
    """
    assert num_nodes >= 1, num_nodes
    assert arguments
    limits = {"memory": settings.memory, settings.gpu_resource: str(settings.gpus_per_node)}
    spec = {
        "runtimeRef": {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": settings.runtime},
        "activeDeadlineSeconds": settings.active_deadline_seconds,
        "trainer": {
            "image": settings.image,
            "command": ["python", "-m", "linnet"],
            "args": list(arguments),
            "env": _environment(settings),
            "numNodes": num_nodes,
            "numProcPerNode": processes_per_node,
            "resourcesPerNode": {"requests": {"cpu": settings.cpu, **limits}, "limits": limits},
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
    return {NAME_LABEL: "linnet", KEY: key[:MAX_LABEL_LENGTH]}


def _hash(spec: Mapping[str, Any]) -> str:
    """The hash of the spec as it was sent: the cluster fills in defaults, so what it returns never compares equal.

    The pipeline run is left out: two runs that need the same result share a job instead of replacing each other's.
    """
    variables = [variable for variable in spec["trainer"]["env"] if variable["name"] != PIPELINE_RUN_VARIABLE]
    hashed = {**spec, "trainer": {**spec["trainer"], "env": variables}}
    return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()


def _environment(settings: TrainJobSettings) -> list[dict[str, Any]]:
    variables: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in settings.environment.items()]
    for secret in settings.secrets:
        for name, key in secret.keys.items():
            # optional, so that a pod without its secret starts and names what is missing instead of waiting for ever
            reference = {"name": secret.secret, "key": key, "optional": True}
            variables.append({"name": name, "valueFrom": {"secretKeyRef": reference}})
    for name, label in DOWNWARD.items():
        variables.append({"name": name, "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{label}']"}}})
    return sorted(variables, key=lambda variable: str(variable["name"]))


def _patch(settings: TrainJobSettings, *, labels: Mapping[str, str]) -> dict[str, Any]:
    """Changes to the pods of the runtime. Trainer's webhook refuses environment variables here."""
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
