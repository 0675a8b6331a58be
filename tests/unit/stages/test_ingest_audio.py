"""ingest for audio: whatever the source, the same verified audiofolder; nothing is done twice, nothing is left half."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linnet.artifacts import Raw
from linnet.data.layouts.audio_folder import find_folder, read_recordings
from linnet.data.raw import RawDataError
from linnet.data.sources.archive import ArchiveError
from linnet.data.sources.download import DownloadError
from linnet.data.synthetic.music import make_music
from linnet.data.synthetic.voices import make_voices
from linnet.errors import LinnetError
from linnet.recipe import DataSection, OfficialSplit, Section
from linnet.stages import ingest
from support.audio_section import AUDIO
from support.hub import COMMIT, REPOSITORY, Hub, serve
from support.image_section import BIRDS


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "music"
    make_music(folder, num_recordings=3, seconds=0.3)
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, made: Path) -> Iterator[Hub]:
    with serve() as server:
        server.files = {path.name: path.read_bytes() for path in sorted(made.iterdir())}
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server


def run(source: Path | str | None, out: Path, data: DataSection = AUDIO) -> None:
    ingest.run(data, source=str(source) if source else None, out=out, work=out.parent / "work")


def origin(out: Path) -> dict[str, Any]:
    source: dict[str, Any] = json.loads((out / Raw.source).read_text())
    assert source.pop("content_hash") == Raw.content_hash(out)
    return source


def snapshot(out: Path) -> dict[str, tuple[int, int]]:
    paths = [out, *out.rglob("*")]
    return {path.relative_to(out).as_posix(): (path.stat().st_mtime_ns, path.stat().st_ino) for path in paths}


@pytest.mark.parametrize("builtin", ["music", "voices"])
def test_the_built_in_set_of_the_recipe_is_made_once(
    builtin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make: Callable[[Path], None] = make_music if builtin == "music" else make_voices
    count = {"music": "num_recordings", "voices": "num_utterances"}[builtin]
    defaults: dict[str, Any] = getattr(make, "__kwdefaults__")  # noqa: B009
    monkeypatch.setitem(defaults, count, 2)  # seconds less
    data, out = AUDIO.model_copy(update={"builtin": builtin}), tmp_path / "out"
    run(None, out, data)
    assert f"{out}: 2 recordings with " in (said := capsys.readouterr().err)
    assert said.rstrip().endswith(" from synthetic")
    make(tmp_path / "again")
    assert Raw.content_hash(out) == Raw.content_hash(tmp_path / "again")
    assert origin(out) == {"kind": "synthetic", "set": builtin, "version": 1}
    before = snapshot(out)
    run(None, out, data)
    assert "from what was there" in capsys.readouterr().err
    run("synthetic", out, data)
    assert snapshot(out) == before
    run("synthetic", out, AUDIO.model_copy(update={"builtin": "voices" if builtin == "music" else "music"}))
    assert Raw.content_hash(out) != Raw.content_hash(tmp_path / "again")


@pytest.mark.parametrize("kind", ["tar", "gztar", "zip"])
@pytest.mark.parametrize("base", [".", "music"])
def test_archives_and_folders_give_the_same_content(made: Path, tmp_path: Path, kind: str, base: str) -> None:
    archive = shutil.make_archive(str(tmp_path / "recordings"), kind, made if base == "." else made.parent, base)
    for source, out in ((archive, tmp_path / "unpacked"), (made, tmp_path / "copied")):
        run(source, out)
        assert Raw.content_hash(out) == Raw.content_hash(made)
        assert {path.name for path in out.iterdir()} == {path.name for path in made.iterdir()} | {Raw.source}
        before = snapshot(out)
        run(source, out)
        assert snapshot(out) == before


def test_what_the_system_left_is_not_copied_and_what_people_wrote_is(made: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    shutil.copytree(made, source)
    for name in ("LICENSE", ".DS_Store", "__MACOSX/._song_000.wav", Raw.source):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("{}")
    folders = [source, *(path for path in source.rglob("*"))]
    for path in folders:
        path.chmod(0o555)
    try:
        run(source, out)
    finally:
        for path in folders:
            path.chmod(0o755)
    added = {path.name for path in out.rglob("*")} - {path.name for path in made.iterdir()}
    assert added == {"LICENSE", Raw.source}
    assert origin(out)["kind"] == "folder"
    assert all(path.stat().st_mode & 0o200 for path in [out, *out.rglob("*")])


def snapshot_of(made: Path, hub: Path) -> Path:
    """The files of `made` as the hub's own cache holds them: links to blobs."""
    (hub / "blobs").mkdir(parents=True)
    (hub / "snapshots" / "abc").mkdir(parents=True)
    for number, path in enumerate(sorted(made.iterdir())):
        shutil.copyfile(path, hub / "blobs" / str(number))
        (hub / "snapshots" / "abc" / path.name).symlink_to(f"../../blobs/{number}")
    return hub / "snapshots" / "abc"


def test_a_snapshot_in_the_hubs_own_cache_becomes_files(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(snapshot_of(made, tmp_path / "hub"), out)
    assert Raw.content_hash(out) == Raw.content_hash(made)
    assert not any(path.is_symlink() for path in out.rglob("*"))


def test_parquet_behind_links(made: Path, tmp_path: Path) -> None:
    recording, blob = (made / "song_000.wav").read_bytes(), tmp_path / "blob"
    pq.write_table(pa.table({"audio": [{"bytes": recording, "path": ""}], "labels": ["a"]}), blob)
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "train-00000-of-00001.parquet").symlink_to(blob)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "data").symlink_to(tmp_path / "snapshot")
    run(tmp_path / "source", tmp_path / "out")
    assert (tmp_path / "out" / "audio" / "0000000.wav").read_bytes() == recording


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_what_metadata_lists_and_is_not_there_is_counted(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    shutil.copytree(made, source)
    (source / "song_001.wav").unlink()
    run(source if kind == "folder" else shutil.make_archive(str(source), kind, source), out)
    said = capsys.readouterr().err
    assert f"{out}: 2 recordings with " in said
    assert "  3 listed, 1 of them not there: song_001.wav\n" in said


def test_a_wrong_folder_is_refused_before_anything_is_copied(made: Path, tmp_path: Path) -> None:
    wrong, out = tmp_path / "wrong", tmp_path / "deep" / "out"
    shutil.copytree(made, wrong)
    with pytest.raises(RawDataError, match=r"data\.labels_column = 'genre'.*there is: labels, caption"):
        run(wrong, out, AUDIO.model_copy(update={"labels_column": "genre"}))
    (wrong / "metadata.csv").write_text("file_name,labels\nsong_000.wav\n")
    with pytest.raises(RawDataError, match=r"wrong/metadata\.csv, line 2: 1 cells, the header has 2"):
        run(wrong, out)
    assert not out.parent.exists()
    run(made, out)
    before = snapshot(out)
    with pytest.raises(RawDataError, match=r"line 2"):
        run(wrong, out)
    assert snapshot(out) == before


def test_a_folder_of_parquet_files(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recordings = [path.read_bytes() for path in sorted(made.glob("*.wav"))]
    source, out = tmp_path / "source", tmp_path / "out"
    (source / "data").mkdir(parents=True)
    for split, part in (("train", recordings[:2]), ("validation", recordings[2:])):
        rows = {"audio": [{"bytes": recording, "path": ""} for recording in part], "labels": [["a", "b"]] * len(part)}
        pq.write_table(pa.table(rows), source / "data" / f"{split}-00000-of-00001.parquet")
    data = AUDIO.model_copy(update={"split": OfficialSplit(kind="official")})
    run(source, out, data)
    said = capsys.readouterr().err
    assert f"{out}: 3 recordings with 2 labels, 0.0 MB from {source}\n" in said
    assert "  1 of them: split 'validation' counts as test\n" in said
    index = read_recordings(out, data)
    assert [(out / recording.file_name).read_bytes() for recording in index.recordings] == recordings
    assert [recording.split for recording in index.recordings] == ["train", "train", "test"]
    before = snapshot(out)
    run(source, out, data)
    assert snapshot(out) == before
    run(source, out, data.model_copy(update={"label_separator": ";"}))  # it stands in what was written
    assert "a;b" in (out / "metadata.csv").read_text()


def hostile(path: Path, made: Path) -> None:
    with tarfile.open(path, "w") as tar:
        tar.add(made, "music")
        tar.addfile(tarfile.TarInfo("../escaped.wav"), io.BytesIO())


def of_something_else(path: Path, made: Path) -> None:
    with tarfile.open(path, "w") as tar:
        tar.add(made / "song_000.wav", "image.png")


def with_a_bad_line(path: Path, made: Path) -> None:
    content = b"file_name,labels\nsong_000.wav,a\nsong_000.wav,b\n"
    with tarfile.open(path, "w") as tar:
        tar.add(made / "song_000.wav", "recordings/song_000.wav")
        member = tarfile.TarInfo("recordings/metadata.csv")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (hostile, ArchiveError, r"member '\.\./escaped\.wav' would land outside the folder; nothing is kept"),
        (of_something_else, RawDataError, r"/bad\.tar: neither metadata\.csv nor audio files"),
        (
            with_a_bad_line,
            RawDataError,
            r"/bad\.tar/recordings/metadata\.csv: lines 2 and 3 both name song_000\.wav",
        ),
    ],
)
def test_a_bad_archive_leaves_nothing(
    made: Path, tmp_path: Path, make: object, error: type[LinnetError], message: str
) -> None:
    assert callable(make)
    make(tmp_path / "bad.tar", made)
    out = tmp_path / "data" / "out"
    with pytest.raises(error, match=message):
        run(tmp_path / "bad.tar", out)
    assert list((tmp_path / "data").rglob("*")) == []
    assert not (tmp_path / "escaped.wav").exists()
    run(made, out)
    before = snapshot(out)
    with pytest.raises(error, match=message):
        run(tmp_path / "bad.tar", out)
    assert snapshot(out) == before
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_dvc_repository(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository, out = tmp_path / "repository", tmp_path / "out"
    shutil.copytree(made, repository / "data" / "music")
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "someone@example.org")
    dvc = str(Path(sys.executable).parent / "dvc")
    for command in (
        ["git", "init", "--quiet", "--initial-branch", "main"],
        [dvc, "init", "--quiet"],
        [dvc, "add", "--quiet", "data"],
        ["git", "add", "."],
        ["git", "commit", "--quiet", "--message", "recordings"],
    ):
        subprocess.run(command, cwd=repository, check=True, capture_output=True)
    run(f"dvc:{repository}@main", out)
    assert Raw.content_hash(out) == Raw.content_hash(made)
    assert origin(out).keys() == {"kind", "repository", "revision", "label_separator"}
    assert list((tmp_path / "work").iterdir()) == []


def test_a_data_set_of_the_hub(hub: Hub, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(f"hf:{REPOSITORY}@main", out)
    assert Raw.content_hash(out) == Raw.content_hash(made)
    facts = {"repository": REPOSITORY, "revision": COMMIT, "config": "", "split": ""}
    assert origin(out) == {"kind": "huggingface", "label_separator": "|"} | facts
    assert list((tmp_path / "work").iterdir()) == []
    before, requested = snapshot(out), len(hub.requests)
    run(f"hf:{REPOSITORY}@v1", out)  # another name for the same
    assert len(hub.requests) == requested + 1
    run(f"hf:{REPOSITORY}@{COMMIT}", out)  # offline
    assert len(hub.requests) == requested + 1
    assert snapshot(out) == before


def test_an_interrupted_download_is_kept_for_the_next_run(hub: Hub, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    hub.damaged = "song_001.wav"
    with pytest.raises(DownloadError, match=r"song_001\.wav arrived damaged"):
        run(f"hf:{REPOSITORY}@main", out)
    assert not out.exists()
    hub.damaged = ""
    hub.requests.clear()
    run(f"hf:{REPOSITORY}@main", out)
    assert hub.downloaded == ["song_001.wav"]
    assert Raw.content_hash(out) == Raw.content_hash(made)


def test_a_download_resumes_after_the_process_was_killed(hub: Hub, made: Path, tmp_path: Path) -> None:
    """By SIGKILL, in the middle of a file."""
    out, work, tests = tmp_path / "out", tmp_path / "work", str(Path(__file__).parents[2])
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from linnet.stages import ingest\n"
        "from support.audio_section import AUDIO\n"
        f"ingest.run(AUDIO, source='hf:{REPOSITORY}@main', out=Path(sys.argv[1]), work=Path(sys.argv[2]))\n"
    )
    hub.stalled = "song_001.wav"
    others = hub.files.keys() - {"song_001.wav"}
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen([sys.executable, "-c", code, str(out), str(work)], env=environment) as process:
        # The hub's library writes down that a file is whole after the file itself.
        while "song_001.wav" not in hub.downloaded or others - {path.stem for path in work.rglob("*.metadata")}:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    hub.stalled = ""
    hub.resume.set()
    hub.requests.clear()
    run(f"hf:{REPOSITORY}@main", out)
    assert hub.downloaded == ["song_001.wav"]
    assert Raw.content_hash(out) == Raw.content_hash(made)
    assert list(work.iterdir()) == []


def test_a_wrong_recipe_does_not_cost_the_download(hub: Hub, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RawDataError, match=rf"^--source hf:{REPOSITORY}@main: .*data\.labels_column = 'genre'"):
        run(f"hf:{REPOSITORY}@main", out, AUDIO.model_copy(update={"labels_column": "genre"}))
    downloaded = len(hub.downloaded)
    run(f"hf:{REPOSITORY}@main", out)
    assert len(hub.downloaded) == downloaded
    assert find_folder(out) == out


@pytest.mark.parametrize(
    ("source", "data", "message"),
    [
        ("caltech", AUDIO, "brings images of birds, and the recipe's data.kind is 'audio'; give 'synthetic', hf:OWN"),
        (f"hf:{REPOSITORY}@main", BIRDS, "brings audio, and the recipe's data.kind is 'images'; give 'synthet"),
    ],
)
def test_a_source_of_another_kind(source: str, data: DataSection, message: str, tmp_path: Path) -> None:
    with pytest.raises(RawDataError, match=message):
        run(source, tmp_path / "out", data)
    assert list(tmp_path.iterdir()) == []


def test_images_in_another_layout_get_no_advice_that_is_refused(tmp_path: Path) -> None:
    class ClassFolders(Section):
        kind: str = "class_folders"

    data = BIRDS.model_copy(update={"layout": ClassFolders()})
    for source in ("caltech", "synthetic"):
        with pytest.raises(
            RawDataError, match=r"'class_folders'; give a folder or an archive, or change data\.layout$"
        ):
            run(source, tmp_path / "out", data)


def test_a_source_is_checked_before_anything_is_spent(hub: Hub) -> None:
    data = AUDIO
    ingest.fingerprint(data, f"hf:{REPOSITORY}@main#whatever:train")
    assert len(hub.requests) == 1
    with pytest.raises(DownloadError, match="has no revision 'v7'"):
        ingest.fingerprint(data, f"hf:{REPOSITORY}@v7")
    with pytest.raises(RawDataError, match="no revision; give hf:OWNER/NAME@REVISION"):
        ingest.fingerprint(data, f"hf:{REPOSITORY}")
    with pytest.raises(RawDataError, match=r"no such file or folder; .* or hf:OWNER/NAME@REVISION"):
        ingest.fingerprint(data, "absent.tgz")


def test_a_fingerprint_is_that_of_what_would_be_brought(made: Path, tmp_path: Path, hub: Hub) -> None:
    """Before and after: by the hub's commit, by content for folders and archives, by version for the built-in set."""
    archive = tmp_path / "music.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(made, "music")
    found = {}
    for source in ("synthetic", str(made), str(archive), f"hf:{REPOSITORY}@main"):
        found[source] = ingest.fingerprint(AUDIO, source)
        run(source, tmp_path / "out")
        assert ingest.fingerprint_of(tmp_path / "out") == found[source]
    assert len(set(found.values())) == len(found)
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    assert ingest.fingerprint(AUDIO, str(copy)) == found[str(made)]
    first = sorted(copy.glob("*.wav"))[0] if list(copy.glob("*.wav")) else sorted(copy.iterdir())[0]
    first.write_bytes(first.read_bytes()[:-1])
    assert ingest.fingerprint(AUDIO, str(copy)) != found[str(made)]
    other = AUDIO.model_copy(update={"builtin": "voices"})
    assert ingest.fingerprint(other, "synthetic") != found["synthetic"]


def test_ingest_imports_no_heavy_library() -> None:
    code = (
        "import sys, linnet.stages.ingest;"
        "print([m for m in ('torch', 'datasets', 'huggingface_hub', 'pyarrow', 'mlflow') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
