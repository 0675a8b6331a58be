"""Provenance, the names of results by what went into them, and the hashes of what they hold."""

import subprocess
from pathlib import Path

import pytest

import linnet
from linnet.artifacts import Dataset, Model, Raw, git_commit, input_hash, is_current, read_provenance, write_provenance
from linnet.files import PROVENANCE, ArtifactError
from linnet.recipe import OfficialSplit, SeededSplit
from linnet.stages.table import INGEST, PREPROCESS, SAMPLE, TRAIN
from support.tiny import tiny_recipe

SEEDED = SeededSplit(kind="seeded", train_fraction=0.5, seed=0)


def test_provenance_tells_what_made_a_folder(tmp_path: Path) -> None:
    write_provenance(tmp_path, PREPROCESS, [SEEDED], {"raw": "abc"})
    provenance = read_provenance(tmp_path, made_by="preprocess")
    assert (provenance["stage"], provenance["inputs"]) == ("preprocess", {"raw": "abc"})
    expected = input_hash(PREPROCESS, [SEEDED], {"raw": "abc"})
    assert provenance["input_hash"] == expected
    assert is_current(tmp_path, expected)
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
    assert not is_current(tmp_path, "expected")
    assert not is_current(tmp_path / "absent", "expected")


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
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert git_commit.__wrapped__() == "unknown"
    assert "given as unknown (fatal: not a git repository" in capsys.readouterr().err
    monkeypatch.setenv("LINNET_GIT_COMMIT", "abc123")
    assert git_commit.__wrapped__() == "abc123"
    assert capsys.readouterr().err == ""


def test_the_commit_of_a_repository_around_a_copy_is_not_the_copys(
    tmp_path: Path, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = checkout / "src"
    package.rename(tmp_path / "kept")
    (tmp_path / ".gitignore").write_text("/src\n/kept\n")
    commit_all(checkout)
    (tmp_path / "kept").rename(package)
    assert git_commit.__wrapped__() == "unknown"
    assert "does not hold it" in capsys.readouterr().err


def test_the_commit_of_a_copy_inside_another_repository_is_that_of_its_own_files(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "vendor").mkdir()
    (checkout / "src").rename(checkout / "vendor" / "src")
    monkeypatch.setattr(linnet, "__file__", str(checkout / "vendor" / "src" / "linnet" / "__init__.py"))
    first = commit_all(checkout)
    (checkout / "src").mkdir()
    (checkout / "src" / "theirs").write_text("")
    commit_all(checkout)
    assert git_commit.__wrapped__() == first


def test_the_commit_is_unknown_without_git(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(checkout))
    assert git_commit.__wrapped__() == "unknown"
    assert "No such file or directory: 'git'" in capsys.readouterr().err
