"""What a local run leaves out of the DAG, and what it hands to containers."""

import copy
from pathlib import Path

import pytest

from pipelines.local import _environment, _failed_task, for_one_machine
from support.dag import compiled


def test_the_task_that_failed_is_named() -> None:
    message = (
        "Pipeline \x1b[95m'linnet-training'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m. Inner task failed: "
        "\x1b[96m'look'\x1b[0m inside \x1b[96m'exit-handler-1'\x1b[0m."
    )
    assert _failed_task(message) == "task 'look' failed"
    assert _failed_task("something else.") == "something else"


def test_containers_get_what_sources_and_features_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens and hashes as they are; files by their absolute paths, under which they are mounted."""
    monkeypatch.chdir(tmp_path)
    for name in ("LINNET_INCEPTION_WEIGHTS", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    given = {"HF_TOKEN": "hf_of_the_test", "LINNET_EMBEDDING_WEIGHTS": "vggish.pth", "LINNET_EMBEDDING_SHA256": "abc"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = _environment()
    assert {name: found[name] for name in given} == given | {"LINNET_EMBEDDING_WEIGHTS": str(tmp_path / "vggish.pth")}
    assert not {"LINNET_INCEPTION_WEIGHTS", "AWS_ACCESS_KEY_ID"} & found.keys()


def test_only_retries_are_taken_out() -> None:
    whole, _ = compiled("cpu-small")
    assert "retryPolicy" in str(whole)
    local = for_one_machine(copy.deepcopy(whole))
    assert "retryPolicy" not in str(local)
    assert local["deploymentSpec"] == whole["deploymentSpec"]
    assert set(local["components"]) == set(whole["components"])
