"""preprocess of audio: what cannot be used as it is, and why; nothing is lost silently."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from linnet.artifacts import Dataset
from linnet.data.raw import RawDataError
from linnet.hashes import folder_hash
from linnet.reports.dataset import dataset_page
from support.raw_audio import DATA, GOOD, RATE, Folder, good_recordings, prepare, table, tone

REJECTED = {  # what its reason begins with
    "words.wav": "not an audio file",
    "empty.wav": "not an audio file",
    "no_samples.wav": "no samples in it",
    "nan.wav": "1 of 960 samples are not finite",
    "one_sample.wav": "too short: 1 samples of the 240 of a window",
    "short.wav": "too short: 59 samples of the 240 of a window",
    "silent.wav": "silent: nothing in it is louder than silence_dbfs = -60",
    "missing.wav": "file is missing",
    "audio/0000001_no_bytes_in_its_row.wav": "its row of the parquet file holds no bytes",
    "../outside.wav": "its name points out of the folder",
    ".hidden.wav": "its name points out of the folder, or is a hidden file's",
    "nine_channels.wav": "9 channels (at most 8)",
    "folder.wav": "not a file",
}
CONVERTED_NOTES = {
    "link.wav": set(),
    "eight_bit.wav": set(),
    "twenty_four_bit.wav": {"WAV PCM_24 rounded to 16 bits"},
    "eight_channels.wav": {"mixed 8 channels to 1"},
    "slow.wav": {"resampled from 4000 Hz to 8000 Hz"},
    "cd.wav": {"resampled from 44100 Hz to 8000 Hz"},
    "studio.wav": {"resampled from 192000 Hz to 8000 Hz"},
    "padded.wav": {"padded with silence from 200 to 240 samples"},
    "too_loud.wav": {"WAV FLOAT rounded to 16 bits", "scaled down from a peak of 3 to 1"},
    "no_labels.wav": {"no labels"},
    "<script>alert(1)</script>.wav": set(),
}


ENOUGH = DATA.model_copy(
    update={"max_rejected_fraction": len(REJECTED) / (GOOD + len(REJECTED) + len(CONVERTED_NOTES))}
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten good recordings, and one of everything that can be wrong with a file."""
    folder = tmp_path_factory.mktemp("hostile")
    raw = good_recordings(folder / "raw")
    raw.put("words.wav", b"this is no audio at all, only words")
    raw.put("empty.wav", b"")
    raw.add("no_samples.wav", np.zeros(0))
    bad = tone(500)
    bad[100] = np.nan
    raw.add("nan.wav", bad, subtype="FLOAT")
    raw.add("one_sample.wav", np.ones(1))
    raw.add("short.wav", tone(500)[:59])
    raw.add("silent.wav", np.zeros(960))
    raw.list("missing.wav")
    raw.list("audio/0000001_no_bytes_in_its_row.wav")
    soundfile.write(folder / "outside.wav", tone(500), RATE)
    raw.list("../outside.wav")
    raw.list("link.wav")
    (raw.path / "link.wav").symlink_to(folder / "outside.wav")
    raw.add(".hidden.wav", tone(500))
    raw.add("nine_channels.wav", np.tile(tone(500)[:, None], (1, 9)))
    raw.list("folder.wav")
    (raw.path / "folder.wav").mkdir()
    raw.add("eight_bit.wav", tone(500), subtype="PCM_U8")
    raw.add("twenty_four_bit.wav", tone(500), subtype="PCM_24")
    raw.add("eight_channels.wav", np.tile(tone(500)[:, None], (1, 8)))
    for name, rate in (("slow.wav", 4000), ("cd.wav", 44_100), ("studio.wav", 192_000)):
        raw.add(name, tone(500, rate=rate), rate=rate)
    raw.add("padded.wav", tone(500)[:200])
    raw.add("too_loud.wav", tone(500, peak=3.0), subtype="FLOAT")
    raw.add("no_labels.wav", tone(500), labels=" | ", caption="")
    raw.add(  # the slash makes it a folder and a file
        "<script>alert(1)</script>.wav", tone(500), labels='<b onclick="x">|"; DROP TABLE', caption="=HYPERLINK('x')"
    )
    soundfile.write(raw.path / "unlisted.wav", tone(500), RATE)
    return raw.path


@pytest.fixture(scope="module")
def dataset(hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "dataset"
    prepare(hostile, out, ENOUGH)
    return out


def test_every_listed_recording_is_used_or_rejected_with_its_reason(hostile: Path, dataset: Path) -> None:
    listed = [row[0] for row in table(hostile / "metadata.csv")]
    rejected = table(dataset / Dataset.rejected)
    assert {name for _, name, _ in rejected} == set(REJECTED)
    for number, name, reason in rejected:
        assert reason.startswith(REJECTED[name]), (name, reason)
        assert listed[int(number)] == name
    manifest = pd.read_parquet(dataset / Dataset.manifest)
    assert set(manifest.file_name) | set(REJECTED) == set(listed)
    assert not set(manifest.file_name) & set(REJECTED)
    statistics = json.loads((dataset / Dataset.statistics).read_text())
    assert statistics["rejected_count"] == len(REJECTED)
    assert statistics["train_count"] + statistics["test_count"] == len(manifest)


def test_what_was_changed_is_written_down(dataset: Path) -> None:
    found: dict[str, set[str]] = {}
    for name, what in table(dataset / Dataset.converted):
        found.setdefault(name, set()).add(what)
    assert found.pop("unlisted.wav") == {"in the folder, not in metadata.csv"}
    assert found == {name: notes for name, notes in CONVERTED_NOTES.items() if notes}


def test_converted_recordings_still_play_their_tone(dataset: Path) -> None:
    """500 Hz, whatever the file's rate, width or channels."""
    manifest = pd.read_parquet(dataset / Dataset.manifest)
    for name in CONVERTED_NOTES:
        row = manifest[manifest.file_name == name].iloc[0]
        window = np.load(dataset / Dataset.waveforms(row["split"]))[row["row"]].astype(float)
        hertz = np.argmax(np.abs(np.fft.rfft(window, 8000)))
        assert hertz == pytest.approx(500, abs=20), name
        assert np.abs(window).max() == pytest.approx((1.0 if name == "too_loud.wav" else 0.4) * 32767, rel=0.05), name


def test_hostile_text_is_kept_as_text(dataset: Path) -> None:
    statistics = json.loads((dataset / Dataset.statistics).read_text())
    recording = next(recording for recording in statistics["recordings"] if recording["name"].startswith("<script>"))
    assert recording["labels"] == ['<b onclick="x">', '"; DROP TABLE']
    assert recording["caption"] == "=HYPERLINK('x')"
    page = dataset_page(DATA, dataset)
    assert "<script>" not in page
    assert "<b onclick" not in page
    assert "&lt;b onclick" in page
    assert "://" not in page


def test_rows_are_the_windows_that_the_manifest_says(hostile: Path, dataset: Path) -> None:
    manifest = pd.read_parquet(dataset / Dataset.manifest)
    recordings = {row[0]: number for number, row in enumerate(table(hostile / "metadata.csv"))}
    for split in ("train", "test"):
        part = manifest[manifest["split"] == split].sort_values("row")
        assert part["row"].tolist() == list(range(len(part)))
        labels = np.load(dataset / Dataset.labels(split))
        assert labels.tolist() == part.number.tolist() == [recordings[name] for name in part.file_name]
    for row in manifest[manifest.file_name.str.startswith("recording_")].to_dict("records"):
        whole, _ = soundfile.read(hostile / row["file_name"], dtype="float32")
        wanted = whole[row["start_sample"] : row["start_sample"] + 240]
        found = np.load(dataset / Dataset.waveforms(row["split"]))[row["row"]]
        assert np.abs(found - np.rint(wanted * 32767)).max() <= 0
    assert manifest[manifest.file_name == "song_3.wav"].start_sample.tolist() == [0, 256, 512]


def test_the_result_does_not_depend_on_the_number_of_workers(hostile: Path, dataset: Path, tmp_path: Path) -> None:
    prepare(hostile, tmp_path / "two", ENOUGH, workers=2)
    assert folder_hash(tmp_path / "two", leave_out=()) == folder_hash(dataset, leave_out=())


def test_one_reject_too_many_fails_and_keeps_the_list(hostile: Path, dataset: Path, tmp_path: Path) -> None:
    listed = len(table(hostile / "metadata.csv"))
    tight = DATA.model_copy(update={"max_rejected_fraction": ENOUGH.max_rejected_fraction - 1e-6})
    with pytest.raises(RawDataError, match=rf"{len(REJECTED)} of {listed} listed files were rejected.*not an audio"):
        prepare(hostile, tmp_path / "out", tight)
    assert [path.name for path in tmp_path.iterdir()] == ["out-rejected.csv"]
    assert table(tmp_path / "out-rejected.csv") == table(dataset / Dataset.rejected)


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    raw = Folder(tmp_path / "raw")
    for number in range(4):
        raw.add(f"{number}.wav", np.zeros(960))
    with pytest.raises(RawDataError, match="0 examples to train on and 0 to test on"):
        prepare(raw.path, tmp_path / "out", DATA.model_copy(update={"max_rejected_fraction": 1.0}))
    assert not (tmp_path / "out").exists()


def test_a_link_in_a_circle_is_rejected(tmp_path: Path) -> None:
    raw = good_recordings(tmp_path / "raw")
    (raw.path / "circle.wav").symlink_to(raw.path / "circle.wav")
    raw.list("circle.wav")
    prepare(raw.path, tmp_path / "out")
    assert [name for _, name, _ in table(tmp_path / "out" / Dataset.rejected)] == ["circle.wav"]


def test_a_repeat_has_nothing_to_do(
    hostile: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(dataset, tmp_path / "out")
    before = (tmp_path / "out").stat().st_ino
    prepare(hostile, tmp_path / "out", ENOUGH)
    assert "already made" in capsys.readouterr().err
    assert (tmp_path / "out").stat().st_ino == before
