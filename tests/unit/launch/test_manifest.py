"""The TrainJob as Kubeflow Trainer's own model reads it, and the settings that it is made of."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from linnet.launch.manifest import DOWNWARD
from linnet.launch.trainjob import Toleration, TrainJobError, TrainJobSettings, job_name
from support.trainjobs import ARGUMENTS, IMAGE, KEY, NAME, PLAIN, S3, VOLUME, manifest_of, settings_of

GOLDEN = Path(__file__).parent / "golden"

# --- the resource -----------------------------------------------------------------------------------------------------

VARIANTS = {
    "s3": (S3, 4, ARGUMENTS),
    "volume": (
        VOLUME,
        2,
        ["train-node", "/mnt/linnet/work/nodes-0123456789abcdef", "--gpus", "0", "--stop-seconds", "120"],
    ),
}


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_the_manifest_is_the_golden_one(name: str) -> None:
    values, num_nodes, arguments = VARIANTS[name]
    made = manifest_of(values, num_nodes=num_nodes, arguments=arguments)
    assert made == yaml.safe_load((GOLDEN / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_trainers_own_model_knows_every_field(name: str) -> None:
    from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob

    values, num_nodes, arguments = VARIANTS[name]
    made = manifest_of(values, num_nodes=num_nodes, arguments=arguments)
    read = TrainerV1alpha1TrainJob.from_dict(made)
    assert read is not None
    assert read.to_dict() == made  # a field it does not know would be missing here
    misspelt = json.loads(json.dumps(made).replace("volumeMounts", "volumeMount"))
    assert TrainerV1alpha1TrainJob.from_dict(misspelt).to_dict() != misspelt


def test_no_environment_where_the_webhook_refuses_it() -> None:
    made = manifest_of(S3)
    assert "env" not in json.dumps(made["spec"]["runtimePatches"])
    assert len(made["spec"]["trainer"]["env"]) == 6


@pytest.mark.parametrize(("values", "gpus"), [(S3, "8"), (VOLUME, "0")])
def test_the_cpu_has_no_limit_and_gpus_are_named_also_where_there_are_none(values: dict[str, Any], gpus: str) -> None:
    """Trainer adds what the runtime has and the job does not name; a limit of the CPU throttles."""
    resources = manifest_of(values)["spec"]["trainer"]["resourcesPerNode"]
    assert resources["requests"] == {"cpu": "64", "memory": "512Gi", "nvidia.com/gpu": gpus}
    assert resources["limits"] == {"memory": "512Gi", "nvidia.com/gpu": gpus}


def test_every_attempt_has_a_rendezvous_of_its_own() -> None:
    """The Job that JobSet makes anew for an attempt gives its uid to all its pods."""
    variables = {variable["name"]: variable for variable in manifest_of(S3)["spec"]["trainer"]["env"]}
    paths = {name: variables[name]["valueFrom"]["fieldRef"]["fieldPath"] for name in DOWNWARD}
    assert paths == {
        "LINNET_ATTEMPT": "metadata.labels['jobset.sigs.k8s.io/restart-attempt']",
        "LINNET_RENDEZVOUS": "metadata.labels['batch.kubernetes.io/controller-uid']",
    }


@pytest.mark.parametrize(("cpu", "whole"), [("64", 64), ("1500m", 1), ("500m", 0), ("2.5", 2)])
def test_whole_cpus(cpu: str, whole: int) -> None:
    assert settings_of(PLAIN | {"cpu": cpu}).whole_cpus == whole


def test_the_spec_hash_follows_the_spec_and_nothing_else() -> None:
    def hash_of(values: dict[str, Any], num_nodes: int = 2) -> str:
        made = manifest_of(values, num_nodes=num_nodes)
        return str(made["metadata"]["annotations"]["linnet/spec-sha256"])

    reordered = S3 | {"environment": dict(reversed(S3["environment"].items()))}
    assert hash_of(S3) == hash_of(reordered)
    assert hash_of(S3) == hash_of(S3 | {"environment": S3["environment"] | {"LINNET_PIPELINE_RUN": "another"}})
    assert hash_of(S3) != hash_of(S3 | {"environment": S3["environment"] | {"LINNET_GIT_COMMIT": "another"}})
    assert len({hash_of(S3), hash_of(S3, 3), hash_of(S3 | {"image": IMAGE.replace("a", "b")}), hash_of(PLAIN)}) == 4


def test_names_and_labels_are_valid() -> None:
    assert job_name(KEY) == NAME
    with pytest.raises(AssertionError):
        job_name("Not a hash")
    made = manifest_of(S3)
    assert made["metadata"]["labels"]["linnet/training-key"] == KEY[:63]  # a label holds no more
    assert made["metadata"]["annotations"]["linnet/training-key"] == KEY


# --- the settings -----------------------------------------------------------------------------------------------------


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNET_TRAINJOB", json.dumps(S3))
    settings = TrainJobSettings.from_environment()
    assert settings == settings_of(S3)
    assert settings.tolerations == (Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule"),)
    assert TrainJobSettings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"gpus_per_node": "8"}, "gpus_per_node"),
        ({"gpus_per_nod": 8}, "gpus_per_nod"),
        ({"memory": "512 GB"}, "memory"),
        ({"cpu": "2Gi"}, "cpu"),
        ({"namespace": "Lab"}, "namespace"),
        ({"tolerations": [{"operator": "Is"}]}, "tolerations.0.operator"),
        ({"volume_claim": "linnet-work"}, "volume_mount_path"),
        ({"environment": {"PET_NNODES": "2"}}, "PET_NNODES"),
        ({"environment": {"AWS_ACCESS_KEY_ID": "x"}, "secrets": S3["secrets"]}, "AWS_ACCESS_KEY_ID is set twice"),
        ({"image": "linnet"}, "pulls linnet always"),
        ({"image": "localhost:5000/linnet"}, "pulls localhost:5000/linnet always"),
        ({"image_pull_policy": "Always"}, "once"),
    ],
)
def test_wrong_settings_are_named(monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], named: str) -> None:
    monkeypatch.setenv("LINNET_TRAINJOB", json.dumps(PLAIN | change))
    with pytest.raises(TrainJobError, match=r"^LINNET_TRAINJOB: .*the cluster's profile$") as caught:
        TrainJobSettings.from_environment()
    assert named in str(caught.value)


@pytest.mark.parametrize("text", [None, "", "{", "[]"])
def test_missing_settings_say_what_to_set(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    monkeypatch.delenv("LINNET_TRAINJOB", raising=False)
    if text is not None:
        monkeypatch.setenv("LINNET_TRAINJOB", text)
    with pytest.raises(TrainJobError, match=r"LINNET_TRAINJOB.*the cluster's profile"):
        TrainJobSettings.from_environment()


def test_importing_it_is_cheap() -> None:
    code = "import sys, linnet.launch.trainjob; print({'torch', 'kfp', 'kubernetes'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
