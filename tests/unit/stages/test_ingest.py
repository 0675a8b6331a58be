"""ingest: whatever the source, the same verified folder; nothing is done twice, nothing is left half."""

import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from linnet.artifacts import Raw
from linnet.data.caltech_birds import FOLDER, RawDataError, read_index
from linnet.data.download import ArchiveError
from linnet.data.synthetic import SPECIES, make_birds
from linnet.errors import LinnetError
from linnet.recipe import CaltechBirds, OfficialSplit
from linnet.stages import ingest

BIRDS = CaltechBirds(
    kind="caltech_birds",
    folder="birds",
    image_size_pixels=8,
    split=OfficialSplit(kind="official"),
    max_rejected_fraction=0.0,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_birds(folder, per_species=2)
    return folder


def archive_of(made: Path, base: Path, kind: str) -> Path:
    return Path(shutil.make_archive(str(base), kind, root_dir=made, base_dir=FOLDER))


def run(source: Path | str, out: Path) -> None:
    ingest.run(BIRDS, source=str(source), out=out, work=out.parent / "work")


def snapshot(out: Path) -> dict[str, tuple[int, int]]:
    paths = [out, *out.rglob("*")]
    return {path.relative_to(out).as_posix(): (path.stat().st_mtime_ns, path.stat().st_ino) for path in paths}


@pytest.mark.parametrize("kind", ["tar", "gztar", "zip"])
def test_archives_and_folders_give_the_same_content(made: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "data" / "birds"
    run(archive_of(made, tmp_path / "birds", kind), out)
    assert Raw.content_hash(out) == Raw.content_hash(made)
    for place, source in enumerate((made, made / FOLDER)):
        run(source, tmp_path / f"folder{place}")
        assert Raw.content_hash(tmp_path / f"folder{place}") == Raw.content_hash(made)
    assert read_index(out) == read_index(made)


def test_the_synthetic_birds_are_drawn_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert make_birds.__kwdefaults__ == {"per_species": 100, "seed": 0}
    monkeypatch.setitem(make_birds.__kwdefaults__, "per_species", 3)  # seconds less
    out = tmp_path / "birds"
    run("synthetic", out)
    assert f"{out}: 24 pictures of {len(SPECIES)} classes from synthetic" in capsys.readouterr().err
    make_birds(tmp_path / "again")
    assert Raw.content_hash(out) == Raw.content_hash(tmp_path / "again")
    origin = {"kind": "synthetic", "version": 1, "content_hash": Raw.content_hash(out)}
    assert json.loads((out / Raw.source).read_text()) == origin
    before = snapshot(out)
    run("synthetic", out)
    assert snapshot(out) == before


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_a_repeat_touches_nothing(made: Path, tmp_path: Path, kind: str) -> None:
    source = made if kind == "folder" else archive_of(made, tmp_path / "birds", "tar")
    out = tmp_path / "out"
    run(source, out)
    before = snapshot(out)
    run(source, out)
    assert snapshot(out) == before


def test_other_content_replaces_the_old(made: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    run(made, out)
    make_birds(other, per_species=1)
    run(other, out)
    assert Raw.content_hash(out) == Raw.content_hash(other)
    assert len(read_index(out).records) == len(SPECIES)
    (out / Raw.source).write_text("{damaged")
    run(made, out)
    assert Raw.content_hash(out) == Raw.content_hash(made)


@pytest.mark.parametrize("damage", ["images.txt", "classes.txt"])
def test_a_wrong_folder_is_refused_before_anything_is_copied(made: Path, tmp_path: Path, damage: str) -> None:
    wrong, out = tmp_path / "wrong", tmp_path / "deep" / "out"
    shutil.copytree(made, wrong)
    (wrong / FOLDER / damage).unlink()
    with pytest.raises(RawDataError, match=str(wrong)):
        run(wrong, out)
    assert not out.parent.exists()
    run(made, out)
    before = snapshot(out)
    with pytest.raises(RawDataError, match=str(wrong)):
        run(wrong, out)
    assert snapshot(out) == before


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RawDataError, match=r"absent\.tgz: no such file or folder; give 'synthetic', 'caltech', an arc"):
        run(tmp_path / "absent.tgz", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def hostile(path: Path, made: Path) -> None:
    with tarfile.open(path, "w") as tar:
        tar.add(made / FOLDER, FOLDER)
        tar.addfile(tarfile.TarInfo("../escaped.txt"), io.BytesIO())


def truncated(path: Path, made: Path) -> None:
    shutil.move(archive_of(made, path.with_name("whole"), "gztar"), path)
    os.truncate(path, path.stat().st_size // 2)


def of_something_else(path: Path, made: Path) -> None:
    with tarfile.open(path, "w") as tar:
        tar.add(made / FOLDER / "images", "photos")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (hostile, ArchiveError, r"member '\.\./escaped\.txt' would land outside the folder; nothing is kept"),
        (truncated, ArchiveError, "not a whole archive"),
        (of_something_else, RawDataError, r"no CUB_200_2011/images\.txt there"),
    ],
)
def test_a_bad_archive_leaves_nothing(
    made: Path, tmp_path: Path, make: object, error: type[LinnetError], message: str
) -> None:
    assert callable(make)
    make(tmp_path / "bad.tar", made)
    out = tmp_path / "data" / "out"
    for _ in range(2):  # with nothing before, and with good data before
        before = sorted(path.name for path in (tmp_path / "data").rglob("*"))
        with pytest.raises(error, match=message):
            run(tmp_path / "bad.tar", out)
        assert sorted(path.name for path in (tmp_path / "data").rglob("*")) == before
        assert sorted(path.name for path in tmp_path.iterdir() if path.name != "data") == ["bad.tar"]
        run(made, out)


def test_data_from_a_read_only_folder_can_be_replaced(made: Path, tmp_path: Path) -> None:
    """Mounted data is often read-only; its copy must not be, or the next ingest cannot remove it."""
    source, out = tmp_path / "source", tmp_path / "out"
    shutil.copytree(made, source)
    folders = [source, *(path for path in source.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        run(source, out)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert all(path.stat().st_mode & 0o200 for path in [out, *out.rglob("*")])
