"""What a local run leaves out of the DAG, and what it hands to containers."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.local import _environment, _failed_task, for_one_machine

ROOT = Path(__file__).parents[3]


def test_the_task_that_failed_is_named() -> None:
    message = (
        "Pipeline \x1b[95m'linnet-training'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m. Inner task failed: "
        "\x1b[96m'check'\x1b[0m inside \x1b[96m'exit-handler-1'\x1b[0m."
    )
    assert _failed_task(message) == "task 'check' failed"
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


def test_only_retries_and_parallel_loops_are_taken_out() -> None:
    whole: dict[str, Any] = next(iter(yaml.safe_load_all((ROOT / "pipelines/compiled/training.yaml").read_text())))
    text = yaml.safe_dump(whole)
    assert "retryPolicy" in text
    local = for_one_machine(yaml.safe_load(text))
    assert "retryPolicy" not in yaml.safe_dump(local)
    (loop,) = [
        task
        for component in local["components"].values()
        for task in component.get("dag", {}).get("tasks", {}).values()
        if "parameterIterator" in task
    ]
    assert loop["iteratorPolicy"] == {"parallelismLimit": 1}
    assert local["deploymentSpec"] == whole["deploymentSpec"]
    assert set(local["components"]) == set(whole["components"])
