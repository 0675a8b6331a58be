"""Files that are whole or absent, locks, and JSON of other stages."""

import copy
import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from linnet.files import ArtifactError, new_file, new_folder, read_json, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_new_folder_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with new_folder(out) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a.txt").write_text("a")
        assert not out.exists()
    assert names(tmp_path) == ["deep", "deep/out", "deep/out/sub", "deep/out/sub/a.txt"]


def test_a_new_folder_replaces_all_of_the_old_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("old.txt", "new.txt"):
        with new_folder(out) as folder:
            (folder / name).write_text(name)
    assert names(tmp_path) == ["out", "out/new.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_inside_leaves_the_old_content_alone(tmp_path: Path, error: type[BaseException]) -> None:
    out = tmp_path / "out"
    with new_folder(out) as folder:
        (folder / "old.txt").write_text("old")

    def fail() -> None:
        with new_folder(out) as folder:
            (folder / "new.txt").write_text("new")
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == ["out", "out/old.txt"]


def test_a_disk_that_refuses_is_called_by_the_name_of_the_result(tmp_path: Path) -> None:
    """Nobody knows the folder in which we work until it is whole."""

    def fail() -> None:
        with new_folder(tmp_path / "out") as folder:
            (folder / "a").write_text("a file")
            (folder / "a" / "b").write_text("is no folder")

    with pytest.raises(NotADirectoryError) as caught:
        fail()
    assert caught.value.filename == str(tmp_path / "out" / "a" / "b")


def test_what_a_killed_run_left_is_cleaned_by_the_next(tmp_path: Path) -> None:
    out = tmp_path / "out"
    killed = (
        "import os, sys, pathlib; from linnet.files import new_folder\n"
        "with new_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half.txt').write_text('half')\n"
        "    os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", killed, str(out)], check=False).returncode == 9
    assert names(tmp_path) == [".out.partial", ".out.partial/half.txt"]
    (tmp_path / ".out.old").mkdir()
    with new_folder(out) as folder:
        (folder / "whole.txt").write_text("whole")
    assert names(tmp_path) == ["out", "out/whole.txt"]


def test_a_failed_write_leaves_the_old_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "first")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "second \ud800 cannot be encoded")
    assert path.read_text() == "first"
    write_text(path, "third")
    assert names(tmp_path) == ["a.txt"]
    assert path.read_text() == "third"


def test_json_that_is_missing_or_damaged_says_which_stage_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(ArtifactError, match=r"a\.json is not there; run `linnet train` first"):
        read_json(path, made_by="train")
    write_json(path, {"a": [1, 2.5, None]})
    assert read_json(path, made_by="train") == {"a": [1, 2.5, None]}
    for damaged in ('{"a": ', "[1, 2]", "null"):
        path.write_text(damaged)
        with pytest.raises(ArtifactError, match=r"a\.json is damaged .*run `linnet train` again"):
            read_json(path, made_by="train")


def test_a_key_that_is_missing_in_json_is_named(tmp_path: Path) -> None:
    """Also in a table within it, and in a list: files are made by other versions, and edited by hand."""
    path = tmp_path / "a.json"
    write_json(path, {"a": {"b": 1}, "c": [{"d": 2}]})
    found = read_json(path, made_by="evaluate")
    assert (found["a"]["b"], found["c"][0]["d"]) == (1, 2)
    for table in (found, found["a"], found["c"][0]):
        with pytest.raises(ArtifactError, match=r"a\.json has no 'x': .*; delete its folder and run `linnet evaluate`"):
            table["x"]
        assert "x" not in table
    assert json.loads(json.dumps(found)) == copy.deepcopy(found) == {"a": {"b": 1}, "c": [{"d": 2}]}


def test_two_runs_do_not_make_one_folder_at_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with new_folder(out) as first:
        (first / "a.txt").write_text("a")
        with pytest.raises(ArtifactError, match="another run is making it right now"), new_folder(out):
            pass
    assert (out / "a.txt").read_text() == "a"
    with new_folder(out) as second:  # the lock is free again
        (second / "b.txt").write_text("b")
    assert [path.name for path in tmp_path.rglob("*.txt")] == ["b.txt"]


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / ".out.old").mkdir()
    (tmp_path / ".out.old" / "a.txt").write_text("a")
    with pytest.raises(RuntimeError), new_folder(tmp_path / "out"):
        raise RuntimeError
    assert (tmp_path / "out" / "a.txt").read_text() == "a"


APPEND_ALONE = """
import sys, time
from pathlib import Path
from linnet.files import path_lock

path = Path(sys.argv[1])
for _ in range(25):
    with path_lock(path):
        before = path.read_text()
        time.sleep(0.001)
        path.write_text(before + "x")  # loses another process's letter if two are here
"""


def test_the_path_lock_keeps_processes_apart_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "letters"
    path.write_text("")
    workers = [subprocess.Popen([sys.executable, "-c", APPEND_ALONE, str(path)]) for _ in range(4)]
    assert [worker.wait() for worker in workers] == [0] * 4
    assert path.read_text() == "x" * 100
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("attribute", ["filename", "filename2"])
def test_a_full_disk_names_where_the_file_would_lie_and_nothing_half_written_stays(
    tmp_path: Path, attribute: str
) -> None:
    def fill(partial: Path) -> None:
        (partial / "a.npy" if partial.is_dir() else partial).write_bytes(b"half")
        error = OSError(errno.ENOSPC, "No space left on device", "source" if attribute == "filename2" else None)
        setattr(error, attribute, str(partial / "a.npy" if partial.is_dir() else partial))
        raise error

    for maker, name in ((new_folder, tmp_path / "out" / "a.npy"), (new_file, tmp_path / "out")):
        with pytest.raises(OSError, match="No space left") as raised, maker(tmp_path / "out") as partial:
            fill(partial)
        assert getattr(raised.value, attribute) == str(name)
        assert names(tmp_path) == []


def test_a_link_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    with (
        pytest.raises(ArtifactError, match=r"out: is a link, .* make a link of the folder above"),
        new_folder(tmp_path / "out"),
    ):
        pass
    assert (tmp_path / "out").is_symlink()
