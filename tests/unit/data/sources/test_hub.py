"""Data sets by id: the real client of Hugging Face against a small hub."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linnet.data.layouts.audio_folder import read_recordings
from linnet.data.raw import RawDataError
from linnet.data.sources import hub as hub_source
from linnet.data.sources.download import DownloadError
from linnet.data.sources.hub import Address, parse
from linnet.errors import LinnetError
from linnet.recipe import Audio
from support.audio_section import AUDIO
from support.hub import COMMIT, REPOSITORY, Hub, serve
from support.parquet import parquet, row, wav

TAGS = AUDIO.model_copy(update={"labels_column": "tags", "caption_column": "text"})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with serve() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
        yield server


def fetch(source: str, folder: Path, cache: Path, data: Audio = TAGS) -> Path:
    address = parse(source)
    commit = hub_source.commit_of(address)
    assert commit == COMMIT
    snapshot = hub_source.download(address, commit, cache)
    folder.mkdir()
    hub_source.write(snapshot, folder, data)
    return folder


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "address"),
    [
        ("hf:someone/recordings@main", Address("someone/recordings", "main", "", "")),
        ("hf:some.one/so_ngs-2@refs/convert/parquet", Address("some.one/so_ngs-2", "refs/convert/parquet", "", "")),
        ("hf:a/b@v1.0#full set:train.clean", Address("a/b", "v1.0", "full set", "train.clean")),
        ("hf:a/b@main:test", Address("a/b", "main", "", "test")),
    ],
)
def test_the_grammar_of_addresses(source: str, address: Address) -> None:
    assert parse(source) == address
    assert str(address) == source


@pytest.mark.parametrize(
    "source", ["hf:a@main", "hf:a/b@", "hf:a/b@main:", "hf:a/b@main#", "hf:a/b@x:y:z", "hf:a/../b@c"]
)
def test_what_is_no_address_is_taught(source: str) -> None:
    with pytest.raises(RawDataError, match=r"not understood; give hf:OWNER/NAME@REVISION, hf:OWNER/NAME@REVISION#CONF"):
        parse(source)


def test_a_revision_must_be_given() -> None:
    with pytest.raises(
        RawDataError, match=r"hf:a/b: no revision; give .*without it nobody could download the same data"
    ):
        parse("hf:a/b")


def test_a_full_commit_needs_no_request(hub: Hub) -> None:
    assert hub_source.commit_of(parse(f"hf:nobody/nothing@{'0' * 40}")) == "0" * 40
    assert hub.requests == []


# --- parquet ----------------------------------------------------------------------------------------------------------


def test_every_row_becomes_a_file_and_a_line(hub: Hub, tmp_path: Path) -> None:
    hub.files = {
        "README.md": b"# Recordings\n",
        "data/train-00000-of-00002.parquet": parquet([row(0), row(1), row(2)]),
        "data/train-00001-of-00002.parquet": parquet([row(3)]),
        "data/test-00000-of-00001.parquet": parquet([row(4)]),
    }
    folder = fetch(f"hf:{REPOSITORY}@main", tmp_path / "out", tmp_path / "cache")
    assert table(folder) == [
        {
            "file_name": f"audio/{number:07d}.wav",
            "text": f"recording {number} of \x07 many",
            "genre": ["folk", "jazz"][number % 2],
            "tags": "slow|sad" if number % 2 else "fast",
            "moods": "calm|wild",
            "year": str(1990 + number),
            "source_name": f"recording {number}.wav",
            "split": "test" if number == 4 else "train",
        }
        for number in range(5)
    ]
    for number in range(5):
        assert (folder / "audio" / f"{number:07d}.wav").read_bytes() == wav(number)
    assert {path.name for path in folder.iterdir()} == {"audio", "metadata.csv"}
    index = read_recordings(folder, TAGS)
    assert [recording.labels for recording in index.recordings[:2]] == [("fast",), ("slow", "sad")]
    assert [recording.split for recording in index.recordings] == ["train"] * 4 + ["test"]
    assert [recording.caption for recording in index.recordings] == [
        f"recording {number} of many" for number in range(5)
    ]
    assert index.notes == tuple(
        (f"audio/{number:07d}.wav", "control characters in text became spaces") for number in range(5)
    )


def test_one_split_of_one_configuration_and_nothing_else_is_fetched(hub: Hub, tmp_path: Path) -> None:
    card = """---
configs:
- config_name: whole
  default: true
  data_files: whole.parquet
- config_name: small
  data_files:
  - split: train
    path: small/a.parquet
  - split: test
    path: small/b.parquet
---
"""
    hub.files = {"README.md": card.encode(), "whole.parquet": b"never requested", "notes/data.txt": b""}
    hub.files |= {"small/a.parquet": parquet([row(0)]), "small/b.parquet": parquet([row(1)])}
    folder = fetch(f"hf:{REPOSITORY}@v1#small:test", tmp_path / "out", tmp_path / "cache")
    assert hub.downloaded == ["README.md", "small/b.parquet"]
    assert [line["year"] for line in table(folder)] == ["1991"]
    assert "split" not in table(folder)[0]
    with pytest.raises(
        RawDataError, match=r"^--source hf:someone/recordings@main#small:dev: no split 'dev'; there is train"
    ):
        fetch(f"hf:{REPOSITORY}@main#small:dev", tmp_path / "other", tmp_path / "cache")
    with pytest.raises(RawDataError, match=r"#large: .*'large' not found\. Available: \['whole', 'small'\]"):
        fetch(f"hf:{REPOSITORY}@main#large", tmp_path / "other", tmp_path / "cache")


def test_the_card_says_what_the_numbers_of_a_bare_file_mean(hub: Hub, tmp_path: Path) -> None:
    card = """---
dataset_info:
  features:
  - name: audio
    dtype: audio
  - name: genre
    dtype: {class_label: {names: {'0': folk, '1': jazz}}}
---
"""
    audio = pa.array([{"bytes": wav(0), "path": ""}] * 3)
    stream = io.BytesIO()
    pq.write_table(pa.table({"audio": audio, "genre": pa.array([1, -1, None], pa.int64())}), stream)
    hub.files = {"README.md": card.encode(), "a.parquet": stream.getvalue()}
    data = AUDIO.model_copy(update={"labels_column": "genre"})
    folder = fetch(f"hf:{REPOSITORY}@main", tmp_path / "out", tmp_path / "cache", data)
    assert [line["genre"] for line in table(folder)] == ["jazz", "", ""]
    hub.files["a.parquet"] = parquet([{"audio": row(0)["audio"]}], datasets.Features({"audio": datasets.Audio()}))
    with pytest.raises(RawDataError, match=r"a\.parquet: no column 'genre', which the others or README\.md have"):
        fetch(f"hf:{REPOSITORY}@main", tmp_path / "bare", tmp_path / "fresh", data)


# --- audio files ------------------------------------------------------------------------------------------------------


def test_an_audiofolder_with_metadata_in_each_split(hub: Hub, tmp_path: Path) -> None:
    hub.files = {
        "train/metadata.csv": b"file_name,labels\n1.wav,a|b\nsub/2.wav,c\n",
        "train/1.wav": wav(1),
        "train/sub/2.wav": wav(2),
        "test/metadata.jsonl": b'{"file_name": "1.wav", "labels": ["a", "d"], "bars": 4}\n\n',
        "test/1.wav": wav(3),
    }
    folder = fetch(f"hf:{REPOSITORY}@main", tmp_path / "out", tmp_path / "cache", AUDIO)
    recordings = read_recordings(folder, AUDIO).recordings
    assert [(recording.file_name, recording.labels, recording.split) for recording in recordings] == [
        ("test/1.wav", ("a", "d"), "test"),
        ("train/1.wav", ("a", "b"), "train"),
        ("train/sub/2.wav", ("c",), "train"),
    ]
    assert [(folder / recording.file_name).read_bytes() for recording in recordings] == [wav(3), wav(1), wav(2)]
    before = len(hub.downloaded)
    only = fetch(f"hf:{REPOSITORY}@main:train", tmp_path / "train", tmp_path / "other", AUDIO)
    assert [recording.file_name for recording in read_recordings(only, AUDIO).recordings] == [
        "train/1.wav",
        "train/sub/2.wav",
    ]
    assert "test/1.wav" not in hub.downloaded[before:]


def test_an_audiofolder_with_metadata_at_the_top_is_taken_as_it_is(hub: Hub, tmp_path: Path) -> None:
    metadata = b"\xef\xbb\xbffile_name,labels\r\nrecordings/1.wav,a\r\n"
    hub.files = {"metadata.csv": metadata, "recordings/1.wav": wav(1), ".gitattributes": b"*.wav filter=lfs\n"}
    folder = fetch(f"hf:{REPOSITORY}@main", tmp_path / "out", tmp_path / "cache", AUDIO)
    assert (folder / "metadata.csv").read_bytes() == metadata
    assert {path.name for path in folder.iterdir()} == {"metadata.csv", "recordings"}
    assert read_recordings(folder, AUDIO).recordings[0].labels == ("a",)


def test_data_in_another_form(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"data.jsonl": b'{"audio": "x.wav"}\n'}
    with pytest.raises(
        RawDataError, match=r"stored as json, only parquet and audio .* try the revision refs/convert/p"
    ):
        fetch(f"hf:{REPOSITORY}@main", tmp_path / "out", tmp_path / "cache")


# --- when the hub does not do as it should ----------------------------------------------------------------------------


def test_a_broken_download_begins_the_file_again_and_keeps_the_others(hub: Hub, tmp_path: Path) -> None:
    content = parquet([row(1) | {"audio": {"bytes": wav(1, samples=60_000), "path": ""}}])
    hub.files = {"test.parquet": parquet([row(0)]), "train.parquet": content}
    fetch(f"hf:{REPOSITORY}@main:test", tmp_path / "test", tmp_path / "cache")
    hub.bytes_until_break = 70_000
    with pytest.raises(DownloadError, match=r"answers 503; it is in trouble, try again later$"):
        fetch(f"hf:{REPOSITORY}@main", tmp_path / "out", tmp_path / "cache")
    assert not (tmp_path / "out").exists()
    (tmp_path / "cache" / "files" / ".cache" / "huggingface" / "download" / "x.incomplete").touch()  # of a killed run
    hub.bytes_until_break = -1
    hub.requests.clear()
    folder = fetch(f"hf:{REPOSITORY}@main", tmp_path / "out", tmp_path / "cache")
    assert hub.downloaded == ["train.parquet"]
    assert (folder / "audio" / "0000000.wav").read_bytes() == wav(1, samples=60_000)
    assert not list((tmp_path / "cache").rglob("*.incomplete"))
    hub.requests.clear()
    hub_source.download(parse(f"hf:{REPOSITORY}@main"), COMMIT, tmp_path / "cache")
    assert hub.downloaded == []  # what is whole is not downloaded again


def test_the_progress_is_told_in_megabytes(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audio = [{"bytes": np.random.default_rng(number).bytes(1_500_000), "path": ""} for number in range(3)]
    hub.files = {f"{number}.parquet": parquet([row(0) | {"audio": one}]) for number, one in enumerate(audio)}
    fetch(f"hf:{REPOSITORY}@main", tmp_path / "out", tmp_path / "cache")
    assert capsys.readouterr().err.startswith("ingest: megabytes: 5/5, ")


def test_names_with_wildcards_mean_themselves(hub: Hub, tmp_path: Path) -> None:
    hub.files = {name: wav(number) for number, name in enumerate(("train/[a]*.wav", "train/a.wav", "test/?.wav"))}
    data = AUDIO.model_copy(update={"labels_column": ""})
    folder = fetch(f"hf:{REPOSITORY}@main:test", tmp_path / "out", tmp_path / "cache", data)
    assert hub.downloaded == ["test/?.wav"]
    assert (folder / "test" / "?.wav").read_bytes() == wav(2)
    fetch(f"hf:{REPOSITORY}@main", tmp_path / "all", tmp_path / "cache", data)
    assert sorted(hub.downloaded[1:]) == ["train/[a]*.wav", "train/a.wav"]


@pytest.mark.parametrize("name", ["README.md", "a.parquet"])  # git's sha1 and sha256
def test_a_damaged_file_is_not_kept(hub: Hub, tmp_path: Path, name: str) -> None:
    hub.files = {"README.md": b"# Recordings\n", "a.parquet": parquet([row(0)])}
    hub.damaged = name
    with pytest.raises(DownloadError, match=rf"{name} arrived damaged .* was deleted; repeat the command"):
        fetch(f"hf:{REPOSITORY}@main", tmp_path / "out", tmp_path / "cache")
    assert not (tmp_path / "cache" / "files" / name).exists()
    hub.damaged = ""
    assert len(table(fetch(f"hf:{REPOSITORY}@main", tmp_path / "out", tmp_path / "cache"))) == 1


def test_a_name_that_leaves_the_folder(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"../escaped.wav": wav(0)}
    with pytest.raises(DownloadError, match=r"file '\.\./escaped\.wav' would land outside the folder"):
        fetch(f"hf:{REPOSITORY}@main", tmp_path / "out", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("source", "refusal", "message"),
    [
        (
            f"hf:{REPOSITORY}@main",
            (403, "GatedRepo"),
            r"asks for consent: give it on .*/someone/recordings, then set HF_TOK",
        ),
        ("hf:nobody/nothing@main", None, r"/datasets/nobody/nothing is not there, or not for everybody: .*HF_TOKEN"),
        (f"hf:{REPOSITORY}@v7", None, r"has no revision 'v7'; give a branch, a tag or a full commit"),
        (f"hf:{REPOSITORY}@main", (500, ""), r"answers 500; it is in trouble, try again later"),
        (f"hf:{REPOSITORY}@main", (400, ""), r"answers 400; is the address right\?"),
    ],
)
def test_a_refusal_is_one_sentence(
    hub: Hub, tmp_path: Path, source: str, refusal: tuple[int, str] | None, message: str
) -> None:
    hub.refusal = refusal
    with pytest.raises(DownloadError, match=rf"^--source {source}: .*{message}") as caught:
        fetch(source, tmp_path / "out", tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert "hf_of_the_test" not in str(caught.value)


def test_the_token_is_sent_with_every_request(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.files = {"a.parquet": parquet([row(0)])}
    hub.token = "hf_of_the_test"
    fetch(f"hf:{REPOSITORY}@main", tmp_path / "out", tmp_path / "cache")
    monkeypatch.setenv("HF_TOKEN", "another")
    with pytest.raises(DownloadError, match="asks for consent"):
        fetch(f"hf:{REPOSITORY}@main", tmp_path / "other", tmp_path / "cache")


def test_no_network_and_a_page_in_between(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.page = b"<html>please log in</html>"
    with pytest.raises(LinnetError, match=r"answers what makes no sense .* is a proxy in between"):
        hub_source.commit_of(parse(f"hf:{REPOSITORY}@main"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(
        DownloadError, match=r"no connection to http://127\.0\.0\.1:1 \(ConnectError.*hf download someone"
    ) as e:
        hub_source.commit_of(parse(f"hf:{REPOSITORY}@main"))
    assert "\n" not in str(e.value)
