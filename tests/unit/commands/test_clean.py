"""clean lists what stopped commands left, and removes it; never what is used, and never anything else."""

import os
import time
from pathlib import Path

import pytest

from linnet.commands import clean
from linnet.files import folder_lock

KEY = "0123456789abcdef"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Three days old: a checkpoint of 3 MiB and an archive of 1 MiB; today: a checkpoint of a sweep, of 2 MiB."""
    work = tmp_path / ".work"
    sizes = {
        work / "birds" / f"train-{KEY}" / "checkpoint-a.pt": 3,
        work / "downloads" / "caltech" / "CUB.tgz": 1,
        work / "sweeps" / "s" / "workspace" / ".work" / "birds" / f"train-{KEY}" / "checkpoint-b.pt": 2,
        work / "birds" / "train-of-mine" / "notes.txt": 4,
        work / "sweeps" / "s" / "workspace" / "params.yaml": 4,
    }
    for path, mebibytes in sizes.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(mebibytes << 20))
        if "sweeps" not in path.parts:
            os.utime(path, (time.time() - 3 * clean.DAY_SECONDS,) * 2)
    return work


def test_what_waits_is_listed_with_size_and_age_and_stays(work: Path) -> None:
    *lines, last = clean.run(work, remove=False, older_than_days=0)
    assert [line.split()[:5] for line in lines] == [
        ["3", "MiB", "3.0", "days", "checkpoint"],
        ["2", "MiB", "0.0", "days", "checkpoint"],
        ["1", "MiB", "3.0", "days", "download"],
    ]
    assert last.startswith("6 MiB can be freed")
    assert len(clean.unfinished_work(work)) == 3


def test_removed_is_what_is_old_and_not_used(work: Path) -> None:
    used = work / "birds" / f"train-{KEY}"
    with folder_lock(used, what=used):
        lines = list(clean.run(work, remove=True, older_than_days=2))
    assert lines[0].endswith(f"{used}  in use, stays")
    assert lines[1].endswith("removed")
    assert lines[2] == "1 MiB freed"
    assert [one.num_bytes >> 20 for one in clean.unfinished_work(work)] == [3, 2]
    assert not (work / "downloads").exists()


def test_what_is_not_ours_is_never_touched(work: Path) -> None:
    list(clean.run(work, remove=True, older_than_days=0))
    assert not clean.unfinished_work(work)
    assert (work / "birds" / "train-of-mine" / "notes.txt").is_file()
    assert (work / "sweeps" / "s" / "workspace" / "params.yaml").is_file()
    assert list(clean.run(work, remove=False, older_than_days=0)) == [f"{work}: nothing unfinished waits there"]


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert "nothing unfinished" in next(clean.run(tmp_path / "no", remove=True, older_than_days=0))
