"""statistics.json: read back as written, and every file that is none of it refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from linnet.files import ArtifactError, write_json
from linnet.modalities.statistics import Statistics, read_statistics
from support.statistics import audio_statistics, image_statistics

RECORDINGS = [
    {"name": "a", "labels": ["flute", "slow"], "caption": ""},
    {"name": "b", "labels": [], "caption": "one bell"},
]
AUDIO = audio_statistics(label_names=["flute", "slow"], recordings=RECORDINGS, recording_counts=[3, 0])
IMAGES = image_statistics(class_names=["wren", "finch"], class_counts=[0, 4])


@pytest.mark.parametrize("statistics", [AUDIO, IMAGES])
def test_they_are_read_back_as_they_were_written(tmp_path: Path, statistics: Statistics) -> None:
    write_json(tmp_path / "statistics.json", statistics.model_dump())
    assert read_statistics(tmp_path / "statistics.json", made_by="train") == statistics


def test_both_modalities_describe_their_examples_alike() -> None:
    assert (IMAGES.label_names, IMAGES.example_counts) == (["wren", "finch"], [0, 4])
    assert (IMAGES.labels, IMAGES.captions) == ([("wren",), ("finch",)], ["", ""])
    assert (AUDIO.label_names, AUDIO.example_counts) == (["flute", "slow"], [3, 0])
    assert (AUDIO.labels, AUDIO.captions) == ([("flute", "slow"), ()], ["", "one bell"])


@pytest.mark.parametrize(
    ("statistics", "change", "fault"),
    [
        (IMAGES, {"std": None}, "no 'std'"),
        (IMAGES, {"std": ["grey"]}, r"a wrong 'std\.0' \(Input should be a valid number"),
        (IMAGES, {"colour": 1}, "a wrong 'colour'"),
        (AUDIO, {"recordings": [{"name": "a", "labels": []}]}, r"no 'recordings\.0\.caption'"),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    tmp_path: Path, statistics: Statistics, change: dict[str, Any], fault: str
) -> None:
    values = {key: value for key, value in (statistics.model_dump() | change).items() if value is not None}
    (tmp_path / "statistics.json").write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match=rf"statistics\.json has {fault}.*run `linnet train` again"):
        read_statistics(tmp_path / "statistics.json", made_by="train")


def test_a_missing_file_names_the_stage_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="run `linnet preprocess` first"):
        read_statistics(tmp_path / "statistics.json", made_by="preprocess")
