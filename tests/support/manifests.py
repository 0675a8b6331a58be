"""Whether a manifest's fields exist and have their types, by those that the Kubernetes client was generated from."""

import re
from typing import Any

import kubernetes.client

MODELS = {
    ("v1", "ConfigMap"): "V1ConfigMap",
    ("v1", "PersistentVolumeClaim"): "V1PersistentVolumeClaim",
    ("v1", "Secret"): "V1Secret",
    ("v1", "Service"): "V1Service",
    ("apps/v1", "Deployment"): "V1Deployment",
    ("apps/v1", "StatefulSet"): "V1StatefulSet",
    ("networking.k8s.io/v1", "NetworkPolicy"): "V1NetworkPolicy",
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): "V1ClusterRole",
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): "V1ClusterRoleBinding",
    ("rbac.authorization.k8s.io/v1", "Role"): "V1Role",
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): "V1RoleBinding",
}
PRIMITIVES = {"str": str, "int": int, "bool": bool}


def check(value: Any, kind: str, where: str) -> None:
    """Raises AssertionError naming the field."""
    if inner := re.fullmatch(r"list\[(.+)\]", kind):
        assert isinstance(value, list), f"{where}: should be a list"
        for index, item in enumerate(value):
            check(item, inner[1], f"{where}[{index}]")
    elif inner := re.fullmatch(r"dict\(str, (.+)\)", kind):
        assert isinstance(value, dict), f"{where}: should be a mapping"
        for name, item in value.items():
            check(item, inner[1], f"{where}.{name}")
    elif kind in PRIMITIVES:
        assert type(value) is PRIMITIVES[kind], f"{where}: {value!r} is no {kind}"
    elif kind != "object":  # an int or a string, such as a port
        check_model(value, getattr(kubernetes.client, kind), where)


def check_model(value: Any, model: Any, where: str) -> None:
    assert isinstance(value, dict), f"{where}: should be a mapping"
    attributes = {name: attribute for attribute, name in model.attribute_map.items()}
    assert not value.keys() - attributes.keys(), f"{where}: unknown {sorted(value.keys() - attributes.keys())}"
    for name, item in value.items():
        check(item, model.openapi_types[attributes[name]], f"{where}.{name}")
    try:
        model(**{attributes[name]: item for name, item in value.items()})
    except ValueError as reason:  # the client's own: what is required and missing
        raise AssertionError(f"{where}: {reason}") from None


def check_strictly(model: Any, value: Any, where: str) -> None:
    """Against a pydantic model of Kubeflow Trainer, which would drop what it does not know, and so would Trainer."""
    read = model.from_dict(value)
    assert read is not None, where
    known = paths_of(read.to_dict())
    unknown = sorted(paths_of(value) - known)
    assert unknown == [], f"{where}: unknown {unknown}"


def paths_of(value: Any, path: str = "") -> set[str]:
    """The paths of all keys and entries of a document."""
    if isinstance(value, dict):
        return {path}.union(*(paths_of(inner, f"{path}.{name}") for name, inner in value.items()))
    if isinstance(value, list):
        return {path}.union(*(paths_of(inner, f"{path}[{index}]") for index, inner in enumerate(value)))
    return {path}


def check_document(item: dict[str, Any]) -> None:
    """By its kind."""
    if item["kind"] == "TrainingRuntime":
        from kubeflow_trainer_api.models import TrainerV1alpha1TrainingRuntime

        check_strictly(TrainerV1alpha1TrainingRuntime, item, item["kind"])
        return
    model = MODELS[item["apiVersion"], item["kind"]]
    check_model(item, getattr(kubernetes.client, model), item["kind"])
