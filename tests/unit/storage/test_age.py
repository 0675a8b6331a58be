"""How long ago folders changed, by the newest of what is in them."""

import os
import time
from pathlib import Path

import pytest

from linnet import storage
from linnet.storage import StorageError


def make(path: Path, *, age_seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("content")
    for each in (path, *path.parents[:2]):
        os.utime(each, (time.time() - age_seconds,) * 2)


def test_the_newest_file_counts_and_other_names_do_not(tmp_path: Path) -> None:
    make(tmp_path / "nodes-a" / "dataset" / "old", age_seconds=9000)
    make(tmp_path / "nodes-a" / "work" / "checkpoint", age_seconds=100)
    make(tmp_path / "nodes-b" / "dataset" / "old", age_seconds=5000)
    make(tmp_path / "birds" / "work" / "checkpoint", age_seconds=10)
    (tmp_path / "nodes-file").write_text("no folder")
    idle = storage.idle_seconds(str(tmp_path), prefix="nodes-")
    assert {name: round(seconds, -2) for name, seconds in idle.items()} == {"nodes-a": 100, "nodes-b": 5000}


def test_nothing_there_is_fine(tmp_path: Path) -> None:
    assert storage.idle_seconds(str(tmp_path / "absent"), prefix="nodes-") == {}


@pytest.mark.usefixtures("keys")
def test_a_server_that_is_away_is_one_sentence() -> None:
    with pytest.raises(StorageError, match=r"s3://bucket/work: no connection to http://127\.0\.0\.1:1"):
        storage.idle_seconds("s3://bucket/work", prefix="nodes-")
