"""Folders that are whole or absent, and what may be told from their files."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest

import linnet
from linnet.artifacts import Dataset, Model, Raw, git_commit, input_hash, is_current, read_provenance, write_provenance
from linnet.files import PROVENANCE, ArtifactError, new_folder, read_json, write_json, write_text
from linnet.recipe import OfficialSplit, SeededSplit
from linnet.stages.table import INGEST, PREPROCESS, SAMPLE, TRAIN
from support.tiny import tiny_recipe

SEEDED = SeededSplit(kind="seeded", train_fraction=0.5, seed=0)


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


def test_provenance_tells_what_made_a_folder(tmp_path: Path) -> None:
    write_provenance(tmp_path, PREPROCESS, [SEEDED], {"raw": "abc"})
    provenance = read_provenance(tmp_path, made_by="preprocess")
    assert (provenance["stage"], provenance["inputs"]) == ("preprocess", {"raw": "abc"})
    wanted = input_hash(PREPROCESS, [SEEDED], {"raw": "abc"})
    assert provenance["input_hash"] == wanted
    assert is_current(tmp_path, wanted)
    assert not is_current(tmp_path, input_hash(PREPROCESS, [SEEDED], {"raw": "abd"}))
    before = (tmp_path / PROVENANCE).read_bytes()
    write_provenance(tmp_path, PREPROCESS, [SEEDED], {"raw": "abc"})
    assert (tmp_path / PROVENANCE).read_bytes() == before  # no time in it


def test_provenance_of_another_stage_or_of_none(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not there; run `linnet train` first"):
        read_provenance(tmp_path, made_by="train")
    write_provenance(tmp_path, INGEST, [], {})
    with pytest.raises(ArtifactError, match="was made by `linnet ingest`, not by `linnet train`"):
        read_provenance(tmp_path, made_by="train")


@pytest.mark.parametrize("text", ["", "{", '{"stage": "train"}', "[1, 2]", "null", "\x00"])
def test_damaged_provenance_is_never_current(tmp_path: Path, text: str) -> None:
    (tmp_path / PROVENANCE).write_text(text)
    assert not is_current(tmp_path, "wanted")
    assert not is_current(tmp_path / "absent", "wanted")


def test_provenance_that_is_no_table_is_an_error_for_people(tmp_path: Path) -> None:
    (tmp_path / PROVENANCE).write_text("[1, 2]")
    with pytest.raises(ArtifactError, match="train"):
        read_provenance(tmp_path, made_by="train")


def test_the_input_hash_depends_on_stage_sections_and_inputs() -> None:
    assert input_hash(TRAIN, [SEEDED], {"a": "1", "b": "2"}) == input_hash(TRAIN, [SEEDED], {"b": "2", "a": "1"})
    variants = [
        input_hash(TRAIN, [SEEDED], {"a": "1", "b": "2"}),
        input_hash(SAMPLE, [SEEDED], {"a": "1", "b": "2"}),
        input_hash(TRAIN, [OfficialSplit(kind="official")], {"a": "1", "b": "2"}),
        input_hash(TRAIN, [], {"a": "1", "b": "2"}),
        input_hash(TRAIN, [SEEDED], {"a": "2", "b": "1"}),
        input_hash(TRAIN, [SEEDED], {"a": "1"}),
    ]
    assert len(set(variants)) == len(variants)


def test_content_hashes_see_content_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_text("1")
    raw, dataset = Raw.content_hash(tmp_path), Dataset.content_hash(tmp_path)
    (tmp_path / Raw.source).write_text("from elsewhere")
    assert Raw.content_hash(tmp_path) == raw
    (tmp_path / Raw.source).unlink()
    (tmp_path / Dataset.summary).write_text("other words")
    (tmp_path / PROVENANCE).write_text("{}")
    assert Dataset.content_hash(tmp_path) == dataset
    (tmp_path / "data.bin").write_text("2")
    assert Dataset.content_hash(tmp_path) != dataset


def test_the_reference_hash_sees_the_examples_of_its_split_alone(tmp_path: Path) -> None:
    data = tiny_recipe().data
    for name in (Dataset.images("train"), Dataset.images("test"), Dataset.labels("test"), Dataset.manifest):
        (tmp_path / name).write_text(name)
    before = Dataset.reference_hash(tmp_path, data, "test")
    for name in (Dataset.images("train"), Dataset.labels("test"), Dataset.manifest, Dataset.summary, PROVENANCE):
        (tmp_path / name).write_text("changed")
    assert Dataset.reference_hash(tmp_path, data, "test") == before
    (tmp_path / Dataset.images("test")).write_text("changed")
    assert Dataset.reference_hash(tmp_path, data, "test") != before


def test_the_model_hash_covers_what_decides_the_images(tmp_path: Path) -> None:
    (tmp_path / Model.weights).write_text("1")
    with pytest.raises(ArtifactError, match=r"lacks ema\.safetensors, recipe\.json, statistics\.json; run `linnet"):
        Model.content_hash(tmp_path)
    for name in (Model.ema_weights, Model.recipe, Model.statistics):
        (tmp_path / name).write_text("1")
    seen = {Model.content_hash(tmp_path)}
    (tmp_path / Model.history).write_text("1")
    assert {Model.content_hash(tmp_path)} == seen
    for name in (Model.weights, Model.ema_weights, Model.recipe, Model.statistics):
        (tmp_path / name).write_text("2")
        seen.add(Model.content_hash(tmp_path))
    assert len(seen) == 5


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with linnet in it, and nothing else yet."""
    monkeypatch.delenv("LINNET_GIT_COMMIT", raising=False)
    package = tmp_path / "src" / "linnet"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(linnet, "__file__", str(package / "__init__.py"))
    return tmp_path


def commit_all(folder: Path) -> str:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
        done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "a change")
    return git("rev-parse", "HEAD")


def test_the_commit_is_the_last_that_changed_code_or_recipes(checkout: Path) -> None:
    first = commit_all(checkout)
    assert git_commit.__wrapped__() == first
    (checkout / "README.md").write_text("more words")
    assert git_commit.__wrapped__() == first
    assert commit_all(checkout) != first
    assert git_commit.__wrapped__() == first
    (checkout / "recipes").mkdir()
    (checkout / "recipes" / "birds.toml").write_text("")
    assert git_commit.__wrapped__() == f"{first}+"
    changed = commit_all(checkout)
    assert git_commit.__wrapped__() == changed != first


def test_the_commit_comes_from_the_image_and_is_unknown_elsewhere(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert git_commit.__wrapped__() == "unknown"
    monkeypatch.setenv("LINNET_GIT_COMMIT", "abc123")
    assert git_commit.__wrapped__() == "abc123"


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
