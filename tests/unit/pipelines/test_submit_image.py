"""Whether the registry has the image, asked before a run is made of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import submit
from support.cluster_api import running_cluster
from support.kfp_api import KfpApi, running_kfp_api, status_of, use_test_environment
from support.tiny import ROOT

RECIPE = str(ROOT / "recipes" / "birds-demo.toml")


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpApi]:
    use_test_environment(monkeypatch, tmp_path)
    with running_kfp_api() as server:
        monkeypatch.setenv("KFP_HOST", server.url)
        yield server


@pytest.mark.parametrize(("lacks", "status"), [(False, 0), (True, 1)])
def test_an_image_that_its_registry_lacks_is_refused(
    api: KfpApi, lacks: bool, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_cluster() as registry:
        registry.registry = "empty" if lacks else "open"
        assert status_of(submit.app, RECIPE, "--image", registry.image) == status
    assert len(api.runs) == (not lacks)
    assert ("make image PUSH=registry/linnet pushes it" in capsys.readouterr().err) == lacks


def test_a_registry_that_does_not_answer_is_no_reason(api: KfpApi) -> None:
    assert status_of(submit.app, RECIPE, "--image", f"127.0.0.1:1/linnet@sha256:{'a' * 64}") == 0
    assert len(api.runs) == 1
