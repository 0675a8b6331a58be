"""metrics.json holds what was measured, and says so where it is another version's."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from linnet.artifacts import Report
from linnet.files import ArtifactError
from linnet.metrics.results import Context, Metrics
from support.metrics import metrics_of


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    metrics = metrics_of({"fid": 1.5, "kid": math.inf})
    metrics.save(tmp_path)
    assert Metrics.load(tmp_path) == metrics
    values = json.loads((tmp_path / Report.metrics).read_text())
    assert values["scores"] == {"fid": 1.5, "kid": math.inf}
    assert values["context"]["fid"]["noise"] == metrics.context["fid"].noise
    assert values["memorization"] == vars(metrics.memorization)


def drop(values: dict[str, Any], *keys: str) -> None:
    for key in keys[:-1]:
        values = values[key]
    del values[keys[-1]]


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        (("scores",), r"metrics\.json has no 'scores': .* run `linnet evaluate` again"),
        (("context", "fid", "noise"), r"metrics\.json has no 'context\.fid\.noise': "),
        (("reference", "raw_hash"), r"metrics\.json has no 'reference\.raw_hash': "),
    ],
)
def test_a_missing_key_is_named(tmp_path: Path, keys: tuple[str, ...], complaint: str) -> None:
    metrics_of({"fid": 1.5}).save(tmp_path)
    values = json.loads((tmp_path / Report.metrics).read_text())
    drop(values, *keys)
    (tmp_path / Report.metrics).write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match=complaint):
        Metrics.load(tmp_path)


def test_another_value_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not there; run `linnet evaluate` first"):
        Metrics.load(tmp_path)
    metrics_of({"fid": 1.5}).save(tmp_path)
    values = json.loads((tmp_path / Report.metrics).read_text())
    values["scores"]["fid"] = "low"
    (tmp_path / Report.metrics).write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match=r"has a wrong 'scores\.fid' \(.*number.*\): another version"):
        Metrics.load(tmp_path)


@pytest.mark.parametrize(
    ("noise", "real", "words"),
    [
        (
            143.0,
            157.0,
            "real examples of the other split have 157, pure noise has 143. So the model's score says nothing",
        ),
        (143.0, 143.0, "pure noise has 143"),
        (-0.0055, -0.0126, r"pure noise has -0.0055 \(an estimate below 0 is wrong by at least that much\)"),
        (0.001, -0.002, "an estimate below 0"),
        (0.0, 0.0, "cannot tell"),
        (math.nan, 1.0, "cannot tell"),
    ],
)
def test_a_distance_that_cannot_tell_noise_is_doubted(noise: float, real: float, words: str) -> None:
    metrics = metrics_of({"fid": 1.5, "kid": 0.5})
    context = metrics.context | {"fid": Context(untrained=3.0, noise=noise, real=real)}
    (doubt,) = metrics.model_copy(update={"context": context}).doubts()
    assert doubt.startswith("fid cannot tell real examples from pure noise here")
    assert re.search(words, doubt), doubt


def test_a_distance_that_can_is_not() -> None:
    assert metrics_of({"fid": 1.5}).doubts() == []
    context = {"kid": Context(untrained=0.01, noise=0.0094, real=-2e-5)}
    assert metrics_of({"kid": 0.001}).model_copy(update={"context": context}).doubts() == []
