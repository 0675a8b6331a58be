"""preprocess of audio: recordings stay in one split, and statistics are those of the training recordings alone."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from linnet.artifacts import Dataset
from linnet.audio.pcm import decode_waveform
from linnet.audio.stft import Transform, as_channels
from linnet.data.raw import RawDataError
from linnet.hashes import folder_hash
from linnet.recipe import OfficialSplit, SeededSplit
from support.raw_audio import DATA, GOOD, RATE, Folder, good_recordings, prepare, tone


def test_windows_of_one_recording_are_never_in_both_splits(tmp_path: Path) -> None:
    raw = good_recordings(tmp_path / "raw")
    placed = []
    for seed in range(2):
        split = SeededSplit(kind="seeded", train_fraction=0.5, seed=seed)
        prepare(raw.path, tmp_path / str(seed), DATA.model_copy(update={"split": split, "stride_frames": 1}))
        manifest = pd.read_parquet(tmp_path / str(seed) / Dataset.manifest)
        assert (manifest.groupby("file_name")["split"].nunique() == 1).all()
        assert manifest.file_name.nunique() == GOOD
        train = frozenset(manifest[manifest["split"] == "train"].file_name)
        assert len(train) == GOOD // 2
        placed.append(train)
    assert len(set(placed)) > 1, "another seed, another split"


def test_the_official_split_is_that_of_its_column(tmp_path: Path) -> None:
    raw = good_recordings(tmp_path / "raw")
    statistics = prepare(raw.path, tmp_path / "out", DATA.model_copy(update={"split": OfficialSplit(kind="official")}))
    manifest = pd.read_parquet(tmp_path / "out" / Dataset.manifest)
    assert set(manifest[manifest["split"] == "test"].file_name) == {"song_0.wav", "song_5.wav"}
    assert (statistics["train_count"], statistics["test_count"]) == (24, 6)
    assert statistics["recording_counts"] == [0, 3, 3, 3, 3, 0, 3, 3, 3, 3]
    raw.add("song_10.wav", tone(500), split="")
    with pytest.raises(
        RawDataError, match=r"line 12: song_10\.wav has no split, and the recipe wants the official one"
    ):
        prepare(raw.path, tmp_path / "none", DATA.model_copy(update={"split": OfficialSplit(kind="official")}))


def overlap(folder: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((folder / Dataset.summary).read_text())["overlap"]
    return found


@pytest.mark.parametrize("seed", range(3))
def test_equal_recordings_are_on_one_side_of_a_seeded_split(tmp_path: Path, seed: int) -> None:
    """All have the same size; that of a damaged one is no copy of another damaged one."""
    raw = good_recordings(tmp_path / "raw")
    for number in range(0, GOOD, 2):
        raw.add(f"again_{number}.wav", tone(300 + 250 * number))
    for name in ("bad.wav", "worse.wav"):
        raw.put(name, b"RIFF and nothing else")
    split = SeededSplit(kind="seeded", train_fraction=0.5, seed=seed)
    prepare(raw.path, tmp_path / "out", DATA.model_copy(update={"split": split}))
    rows = {split: set(map(bytes, np.load(tmp_path / "out" / Dataset.waveforms(split)))) for split in ("train", "test")}
    assert rows["train"].isdisjoint(rows["test"])
    found = overlap(tmp_path / "out")
    assert (found["repeated_count"], found["repeated_held_out"], found["near_held_out"]) == (GOOD // 2, 0, 0)


def test_what_an_official_split_has_on_both_sides_is_counted(tmp_path: Path) -> None:
    """song_1 is held out again as it is, song_2 behind a silence: another file, with the same windows."""
    raw = good_recordings(tmp_path / "raw")
    raw.add("again.wav", tone(550), split="test")
    raw.add("longer.wav", np.concatenate([np.zeros(256), tone(800)]), split="test")
    prepare(raw.path, tmp_path / "out", DATA.model_copy(update={"split": OfficialSplit(kind="official")}))
    train, held_out = (np.load(tmp_path / "out" / Dataset.waveforms(split)) for split in ("train", "test"))
    equal = sum(any(np.array_equal(window, other) for other in train) for window in held_out)
    assert overlap(tmp_path / "out") == {
        "repeated_count": 1,
        "repeated_held_out": 1,
        "near_held_out": equal,
        "moved_count": 0,
    }
    assert equal == 6, "three of each"


def test_every_label_of_two_or_more_is_on_the_training_side_and_others_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = Folder(tmp_path / "raw")
    for number in range(12):
        raw.add(f"{number}.wav", tone(300 + 150 * number), labels=f"pair_{number // 2}|only_{number}")
    split = SeededSplit(kind="seeded", train_fraction=0.4, seed=1)
    statistics = prepare(raw.path, tmp_path / "out", DATA.model_copy(update={"split": split}))
    pairs = zip(statistics["recordings"], statistics["recording_counts"], strict=True)
    trained = {label for recording, count in pairs if count for label in recording["labels"]}
    assert {f"pair_{number}" for number in range(6)} <= trained
    missing = sorted({f"only_{number}" for number in range(12)} - trained)
    assert missing
    assert f"{len(missing)} of 18 labels have no training examples, so that a model will not know them: " + ", ".join(
        missing
    ) in capsys.readouterr().err.replace("\n", " ")


def test_silent_windows_of_a_recording_are_left_out_and_counted(tmp_path: Path) -> None:
    raw = good_recordings(tmp_path / "raw")
    half = np.concatenate([tone(500), np.zeros(960)])
    raw.add("half.wav", half)
    statistics = prepare(raw.path, tmp_path / "out")
    manifest = pd.read_parquet(tmp_path / "out" / Dataset.manifest)
    starts = manifest[manifest.file_name == "half.wav"].start_sample.tolist()
    possible = range(0, len(half) - 240 + 1, 256)
    loud = [start for start in possible if np.sqrt(np.square(half[start : start + 240]).mean()) >= 1e-3]
    assert starts == loud
    assert statistics["silent_windows"] == len(possible) - len(loud) > 0
    assert statistics["seconds"] == pytest.approx(0.12 * (GOOD + 2))


@pytest.mark.parametrize(("stride_frames", "unused"), [(8, 80), (15, 0), (16, 240), (60, 720), (1000, 720)])
def test_what_no_window_reaches_is_counted(tmp_path: Path, stride_frames: int, unused: int) -> None:
    """Recordings of 960 samples, windows of 240: the end is left over, and what lies between windows far apart."""
    raw = good_recordings(tmp_path / "raw")
    statistics = prepare(raw.path, tmp_path / "out", DATA.model_copy(update={"stride_frames": stride_frames}))
    manifest = pd.read_parquet(tmp_path / "out" / Dataset.manifest)
    starts = manifest[manifest.file_name == "song_1.wav"].start_sample
    reached = {place for start in starts for place in range(start, start + 240)}
    assert 960 - len(reached) == unused
    assert statistics["unused_seconds"] == pytest.approx(GOOD * unused / RATE)


def test_a_padded_recording_is_used_whole(tmp_path: Path) -> None:
    raw = good_recordings(tmp_path / "raw")
    before = prepare(raw.path, tmp_path / "before")
    raw.add("short.wav", tone(500)[:200])
    assert prepare(raw.path, tmp_path / "after")["unused_seconds"] == pytest.approx(before["unused_seconds"])


def test_statistics_are_those_of_the_train_split_alone(tmp_path: Path) -> None:
    raw = good_recordings(tmp_path / "raw")
    data = DATA.model_copy(update={"split": OfficialSplit(kind="official")})
    before = prepare(raw.path, tmp_path / "before", data)
    waveforms = np.load(tmp_path / "before" / Dataset.waveforms("train"))
    spectrum = Transform(data.stft).spectrum(torch.from_numpy(decode_waveform(waveforms)))
    channels = as_channels(spectrum, data.representation).double()
    expected = channels.square().mean(dim=(0, 1, 3)).sqrt()
    np.testing.assert_allclose(before["scale"], expected.numpy(), rtol=1e-6)
    assert before["mean"] == [0] * 32
    np.testing.assert_allclose(before["peak"], (channels.abs().amax(dim=(0, 1, 3)) / expected).numpy(), rtol=1e-6)
    soundfile.write(raw.path / "song_5.wav", tone(3000, peak=0.9), RATE)  # a test recording
    after = prepare(raw.path, tmp_path / "after", data)
    assert after == before
    assert folder_hash(tmp_path / "after") != folder_hash(tmp_path / "before")
    soundfile.write(raw.path / "song_6.wav", tone(3000, peak=0.9), RATE)  # a training recording
    assert prepare(raw.path, tmp_path / "third", data)["scale"] != before["scale"]
