"""The pipeline as a file, and as a version from which people start runs in Kubeflow's page."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from linnet.artifacts import git_commit
from pipelines import package
from support.kfp_api import IMAGE, KfpApi, as_people_start_it, running_kfp_api, status_of, use_test_environment


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpApi]:
    use_test_environment(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    with running_kfp_api() as server:
        monkeypatch.setenv("KFP_HOST", server.url)
        yield server


def test_a_file_is_compiled_for_the_image(api: KfpApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(package.app) == 0
    path = Path("build/pipeline/linnet-training.yaml")
    assert capsys.readouterr().out == f"{path}\n"
    spec, platform = yaml.safe_load_all(path.read_text())
    assert spec["deploymentSpec"]["executors"]["exec-train"]["container"]["image"] == IMAGE
    assert "kubernetes" in platform["platforms"]
    assert api.requests == []


def test_a_commit_is_uploaded_once(api: KfpApi, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert status_of(package.app, "--upload", "--cluster", "cpu-small") == 0
    (pipeline,) = api.pipelines
    assert pipeline["display_name"] == "linnet-training"
    names = [version["display_name"] for version in api.versions]
    assert len(names) == 2, "the one that a new pipeline begins with, and ours"
    digest = hashlib.sha256(Path("build/pipeline/linnet-training.yaml").read_bytes()).hexdigest()
    assert names.count(f"{git_commit()[:12]} cpu-small {digest[:8]}") == 1
    assert "version  " in capsys.readouterr().out


def test_another_image_is_another_version_of_the_same_commit(api: KfpApi) -> None:
    for image in (IMAGE, IMAGE.replace("a" * 64, "b" * 64)):
        assert status_of(package.app, "--upload", "--image", image) == 0
    assert len(api.versions) == 3


def test_the_image_of_the_command_line_is_enough(tmp_path: Path) -> None:
    """With the real pipeline, whose components read the image when they are imported."""
    out = tmp_path / "training.yaml"
    done = as_people_start_it("pipelines.package", "--image", IMAGE, "--out", str(out), LINNET_IMAGE="")
    assert (done.returncode, done.stderr) == (0, "")
    spec = next(iter(yaml.safe_load_all(out.read_text())))
    containers = [each["container"] for each in spec["deploymentSpec"]["executors"].values()]
    assert {container["image"] for container in containers} == {IMAGE}
    (settings,) = {
        variable["value"]
        for container in containers
        for variable in container.get("env", ())
        if variable["name"] == "LINNET_TRAINJOB"
    }
    assert json.loads(settings)["image"] == IMAGE


@pytest.mark.parametrize("command", [("pipelines.submit", "birds-demo"), ("pipelines.schedule",)])
def test_so_it_is_for_the_other_commands(command: tuple[str, ...]) -> None:
    done = as_people_start_it(*command, "--image", IMAGE, KFP_HOST="http://127.0.0.1:1", LINNET_IMAGE="")
    assert done.stderr.startswith("linnet: http://127.0.0.1:1: nothing listens there"), done.stderr


def test_without_an_image_nothing_is_compiled(api: KfpApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(package.app, "--image", "linnet:dev") == 1
    assert "by digest" in capsys.readouterr().err
    assert not Path("build").exists()
