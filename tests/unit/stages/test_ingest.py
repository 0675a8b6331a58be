"""ingest: whatever the source, the same verified folder; nothing is done twice, nothing is left half."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from linnet.artifacts import Raw
from linnet.data.layouts.base import ImageIndex
from linnet.data.layouts.caltech import FOLDER, read_index
from linnet.data.raw import RawDataError
from linnet.data.sources import dvc
from linnet.data.sources.archive import ArchiveError
from linnet.data.sources.download import DownloadError
from linnet.data.synthetic.birds import SPECIES, make_birds
from linnet.errors import LinnetError
from linnet.stages import ingest
from linnet.walk import WalkError
from support.image_section import BIRDS


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_birds(folder, per_species=2)
    return folder


def archive_of(made: Path, base: Path, kind: str) -> Path:
    return Path(shutil.make_archive(str(base), kind, root_dir=made, base_dir=FOLDER))


def run(source: Path | str, out: Path) -> None:
    ingest.run(BIRDS, source=str(source), out=out, work=out.parent / "work")


def index_without_paths(raw: Path) -> ImageIndex:
    index = read_index(raw)
    return replace(index, records=tuple(replace(record, path=None) for record in index.records))


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
    assert index_without_paths(out) == index_without_paths(made)


def test_the_synthetic_birds_are_made_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert make_birds.__kwdefaults__ == {"per_species": 100, "seed": 0}
    monkeypatch.setitem(make_birds.__kwdefaults__, "per_species", 3)  # seconds less
    out = tmp_path / "birds"
    run("synthetic", out)
    assert f"{out}: 24 images of {len(SPECIES)} classes from synthetic" in capsys.readouterr().err
    make_birds(tmp_path / "again")
    assert Raw.content_hash(out) == Raw.content_hash(tmp_path / "again")
    origin = {"kind": "synthetic", "version": 1, "content_hash": Raw.content_hash(out)}
    assert json.loads((out / Raw.source).read_text()) == origin
    before = snapshot(out)
    run("synthetic", out)
    assert snapshot(out) == before


@pytest.mark.parametrize("before", ["missing", "empty"])
def test_without_a_source_nothing_becomes_the_built_in_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    assert make_birds.__kwdefaults__ is not None
    monkeypatch.setitem(make_birds.__kwdefaults__, "per_species", 1)  # seconds less
    out = tmp_path / "birds"
    if before == "empty":
        out.mkdir()
    ingest.run(BIRDS, source=None, out=out, work=tmp_path / "work")
    assert json.loads((out / Raw.source).read_text())["kind"] == "synthetic"


def test_without_a_source_what_ingest_brought_stays(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "birds"
    run(made, out)
    before = snapshot(out)
    ingest.run(BIRDS, source=None, out=out, work=tmp_path / "work")
    assert snapshot(out) == before
    assert f"{out}: 16 images of 8 classes from what was there\n" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["CUB_200_2011/images.txt", "CUB_200_2011", "notes.txt"])
def test_without_a_source_somebodys_own_files_stay_and_are_refused(tmp_path: Path, name: str) -> None:
    out = tmp_path / "birds"
    own = out / name
    own.parent.mkdir(parents=True)
    if own.suffix:
        own.write_text("mine")
    else:
        own.mkdir()
    before = snapshot(out)
    with pytest.raises(RawDataError, match=r"birds: holds files, but no source\.json: .* give that with --source;"):
        ingest.run(BIRDS, source=None, out=out, work=tmp_path / "work")
    assert snapshot(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["birds"]


def test_the_words_of_the_summary_are_no_source(tmp_path: Path) -> None:
    with pytest.raises(RawDataError, match="--source what was there: no such file or folder"):
        run("what was there", tmp_path / "out")


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
        (
            of_something_else,
            RawDataError,
            r"/bad\.tar: holds pictures \(001\.Ruby_Linnet/, .* `linnet to-caltech FOLDER OUT`",
        ),
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


def disk_of(made: Path, folder: Path) -> Path:
    """A source of links: the images on another disk, one class on a third, tables in a cache."""
    shutil.copytree(made / FOLDER / "images", folder / "disk")
    shutil.move(folder / "disk" / "001.Ruby_Linnet", folder / "other")
    (folder / "disk" / "001.Ruby_Linnet").symlink_to(folder / "other")
    source = folder / "source"
    source.mkdir()
    (source / "images").symlink_to("../disk")
    for path in (made / FOLDER).glob("*.txt"):
        (source / path.name).symlink_to(path)
    return source


def test_a_source_of_links_becomes_the_same_data_in_files(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(disk_of(made, tmp_path / "links"), out)
    assert Raw.content_hash(out) == Raw.content_hash(made)
    assert not any(path.is_symlink() for path in out.rglob("*"))
    assert all(record.path and record.path.is_file() for record in read_index(out).records)
    before = snapshot(out)
    run(tmp_path / "links" / "source", out)
    assert snapshot(out) == before


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_what_is_listed_and_not_there_is_counted(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(made / FOLDER, source / FOLDER)
    lost = sorted((source / FOLDER / "images").rglob("*.jpg"))[:4]
    for path in lost[:3]:
        path.unlink()
    lost[3].rename(lost[3].with_name(f"._{lost[3].name}"))  # a hidden file is none of the data
    run(source if kind == "folder" else archive_of(source, tmp_path / "birds", kind), tmp_path / "out")
    said = capsys.readouterr().err
    names = ", ".join(path.relative_to(source / FOLDER / "images").as_posix() for path in lost[:3])
    assert f"{tmp_path / 'out'}: 12 images of 6 classes from {tmp_path}" in said
    assert f"  16 listed, 4 of them not there: {names}, ...\n" in said
    for path in (source / FOLDER / "images").rglob("*.jpg"):
        path.unlink()
    with pytest.raises(RawDataError, match=rf"{source}: lists 16 images, and none of the files is there \(001\."):
        run(source, tmp_path / "out")


@pytest.mark.parametrize("kind", ["gztar", "zip"])
def test_messages_about_an_archive_name_the_archive(made: Path, tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source" / "mine"
    shutil.copytree(made / FOLDER, source)
    (source / "images.txt").write_text("1 a.jpg\ntwo b.jpg\n")
    archive = shutil.make_archive(str(tmp_path / "mine"), kind, source.parent, "mine")
    with pytest.raises(RawDataError, match=rf"^{archive}/mine/images\.txt, line 2: expected an id"):
        run(archive, tmp_path / "data" / "out")
    shutil.rmtree(source / "images")
    archive = shutil.make_archive(str(tmp_path / "mine"), kind, source.parent, "mine")
    with pytest.raises(RawDataError, match=rf"^{archive}/mine: images/ missing"):
        run(archive, tmp_path / "data" / "out")


def test_a_link_that_leads_back_is_one_sentence(made: Path, tmp_path: Path) -> None:
    source = disk_of(made, tmp_path / "links")
    (tmp_path / "links" / "disk" / "all").symlink_to(tmp_path / "links" / "disk")
    with pytest.raises(WalkError, match=rf"^{source}/images/all: a link leads back to {source}/images, in which it"):
        run(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


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


# --- DVC: a real repository with two revisions ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def repository(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tag `v1` has two birds of each species in data/birds, branch `main` one."""
    folder = tmp_path_factory.mktemp("repository")
    with pytest.MonkeyPatch.context() as environment:
        for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
            environment.setenv(name, "someone@example.org")
        environment.setenv("DVC_NO_ANALYTICS", "1")

        def do(*command: str) -> None:
            program = str(Path(sys.executable).parent / "dvc") if command[0] == "dvc" else command[0]
            subprocess.run([program, *command[1:]], cwd=folder, check=True, capture_output=True)

        do("git", "init", "--initial-branch", "main")
        do("dvc", "init", "--quiet")
        do("dvc", "remote", "add", "--default", "store", str(tmp_path_factory.mktemp("store")))
        for tag, per_species in (("v1", 2), ("v2", 1)):
            shutil.rmtree(folder / "data", ignore_errors=True)
            make_birds(folder / "data" / "birds", per_species=per_species)
            do("dvc", "add", "--quiet", "data")
            do("git", "add", ".")
            do("git", "commit", "--message", tag)
            do("git", "tag", "--annotate", tag, "--message", tag)
            do("dvc", "push", "--quiet")
    return folder


def commit_of(repository: Path, revision: str) -> str:
    command = ["git", "-C", str(repository), "rev-parse", f"{revision}^{{commit}}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("revision", ["v1", "commit", "main~1"])
@pytest.mark.parametrize("address", ["path", "url"])
def test_a_revision_of_a_dvc_repository(
    made: Path, repository: Path, tmp_path: Path, revision: str, address: str
) -> None:
    where = str(repository) if address == "path" else repository.as_uri()
    commit = commit_of(repository, "v1")
    out = tmp_path / "out"
    if (revision, address) == ("main~1", "url"):  # a server resolves names, not expressions
        with pytest.raises(RawDataError, match=r"the repository has no tag or branch 'main~1'; give one, or a full"):
            run(f"dvc:{where}@{revision}", out)
        return
    run(f"dvc:{where}@{commit if revision == 'commit' else revision}", out)
    assert Raw.content_hash(out) == Raw.content_hash(made)
    source = json.loads((out / Raw.source).read_text())
    origin = {"kind": "dvc", "repository": where, "revision": commit}
    assert source == origin | {"content_hash": Raw.content_hash(made)}
    assert list((tmp_path / "work").iterdir()) == []
    before = snapshot(out)
    run(f"dvc:{where}@{commit}", out)  # another name for the same
    assert snapshot(out) == before


def test_a_branch_is_what_it_is_now(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(f"dvc:{repository.as_uri()}@main", out)
    assert len(read_index(out).records) == len(SPECIES)
    assert json.loads((out / Raw.source).read_text())["revision"] == commit_of(repository, "v2")


def test_a_tag_goes_before_a_branch_of_the_same_name(repository: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", repository, clone], check=True)
    for branch, points_to in (("other/v2", "v1"), ("v1", "v2")):  # ls-remote finds other/v2 too when asked for v2
        subprocess.run(["git", "-C", clone, "branch", branch, points_to], check=True)
    for revision in ("v1", "v2"):
        assert dvc.commit_of(dvc.Address(clone.as_uri(), revision)) == commit_of(repository, revision)


@pytest.mark.parametrize(
    "source",
    [
        "dvc:repository",
        "dvc:repository@",
        "dvc:@v1",
        "dvc:git@example.org:birds.git",
        "dvc:https://user:secret@example.org",
        "dvc:https://user:secret@example.org:8080/birds.git",
    ],
)
def test_a_dvc_source_without_a_revision(source: str, tmp_path: Path) -> None:
    with pytest.raises(RawDataError, match="no revision; give dvc:REPOSITORY@REVISION with a commit") as caught:
        run(source, tmp_path / "out")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("source", ["dvc:--upload-pack=touch@v1", "dvc:repository@--output=x"])
def test_a_dvc_source_is_never_an_option(source: str, tmp_path: Path) -> None:
    with pytest.raises(RawDataError, match="can begin with '-'"):
        run(source, tmp_path / "out")


@pytest.mark.parametrize("revision", ["v1", "0123456789abcdef0123456789abcdef01234567"])
def test_a_repository_that_cannot_be_reached_and_its_password(
    revision: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    program = "git" if revision == "v1" else "dvc"
    with pytest.raises(DownloadError, match=rf"^--source dvc:https://127\.0\.0\.1:1/.*`{program}` failed \(") as caught:
        run(f"dvc:https://user:secret@127.0.0.1:1/birds.git@{revision}", out)
    said = str(caught.value) + capsys.readouterr().err
    assert "secret" not in said
    assert "user" not in said
    assert "\n" not in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize(
    ("revision", "reason"),
    [
        ("absent", r"`git` failed \(fatal: Needed a single revision\); check the repository, the revision"),
        ("0123456789abcdef0123456789abcdef01234567", r"`dvc` failed \(ERROR: .*unknown Git revision '0123"),
    ],
)
def test_a_revision_that_is_not_there(repository: Path, tmp_path: Path, revision: str, reason: str) -> None:
    with pytest.raises(DownloadError, match=reason):
        run(f"dvc:{repository}@{revision}", tmp_path / "out")
    assert list((tmp_path / "work").iterdir() if (tmp_path / "work").exists() else ()) == []


def test_data_that_was_never_pushed(repository: Path, tmp_path: Path) -> None:
    """dvc says so in one of several lines."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", repository, clone], check=True)
    (clone / ".dvc" / "config").write_text(f"[core]\nremote = store\n['remote \"store\"']\nurl = {tmp_path}/empty\n")
    someone = ("-c", "user.name=someone", "-c", "user.email=someone@example.org")
    subprocess.run(["git", *someone, "-C", clone, "commit", "--quiet", "--all", "--message", "empty"], check=True)
    with pytest.raises(DownloadError, match=r"`dvc` failed \(ERROR: .*No such file or directory.*\); check the repos"):
        run(f"dvc:{clone.as_uri()}@main", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_machine_without_dvc(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = commit_of(repository, "v1")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(DownloadError, match=r"needs the command `git`, which is not here; install git"):
        run(f"dvc:{repository}@v1", tmp_path / "out")
    with pytest.raises(DownloadError, match=r"needs the command `dvc`, which is not here; pip install 'dvc\[s3\]'"):
        run(f"dvc:{repository}@{commit}", tmp_path / "out")


def test_dvc_beside_python_is_found_without_activation(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("git", "realpath", "dirname"):  # the last two for the first line of a script that can be moved
        program = shutil.which(name)
        assert program is not None
        (tmp_path / "bin" / name).symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    run(f"dvc:{repository}@v1", tmp_path / "out")
    assert len(read_index(tmp_path / "out").records) == 2 * len(SPECIES)


def test_another_layout_in_a_dvc_repository(repository: Path, tmp_path: Path) -> None:
    fish = BIRDS.model_copy(update={"folder": "birds/CUB_200_2011/images"})
    with pytest.raises(RawDataError, match=r"^dvc:[^ ]*@v1: holds pictures \(001\.Ruby_Linnet/, .*`linnet to-caltech"):
        ingest.run(fish, source=f"dvc:{repository}@v1", out=tmp_path / "out", work=tmp_path / "work")
    assert not (tmp_path / "out").exists()
