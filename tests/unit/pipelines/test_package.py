"""The pipeline as a file, and as a version from which people start runs in Kubeflow's page."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from linnet.artifacts import git_commit
from pipelines import package
from support.kfp_api import IMAGE, KfpApi, running_kfp_api, status_of, use_test_environment


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
    assert names.count(f"{git_commit()[:12]} cpu-small") == 1
    assert len(names) == 2, "the one that a new pipeline begins with, and ours"
    assert "version  " in capsys.readouterr().out


def test_without_an_image_nothing_is_compiled(api: KfpApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(package.app, "--image", "linnet:dev") == 1
    assert "by digest" in capsys.readouterr().err
    assert not Path("build").exists()
