"""Raw folders of audio, written file by file, and the preprocess stage on them."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from linnet.artifacts import Dataset
from linnet.recipe import Audio
from linnet.stages import preprocess
from support.audio_section import AUDIO

RATE = 8000
GOOD = 10  # recordings song_0.wav to song_9.wav
SECONDS = 0.12  # 960 samples: four windows of 240, and one every 256 samples is three
DATA = AUDIO.model_copy(update={"max_rejected_fraction": 0.9, "caption_column": "caption"})


def tone(hz: float, *, seconds: float = SECONDS, rate: int = RATE, peak: float = 0.4) -> NDArray[np.float64]:
    times = np.arange(round(seconds * rate)) / rate
    return np.asarray(peak * np.sin(2 * np.pi * hz * times))


@dataclass
class Folder:
    """A raw folder whose metadata.csv is written line by line."""

    path: Path

    def __post_init__(self) -> None:
        self.path.mkdir(parents=True)
        self.lines = [("file_name", "labels", "caption", "split")]

    def list(self, name: str, labels: str = "loud|tone", caption: str = "a tone", split: str = "train") -> None:
        self.lines.append((name, labels, caption, split))
        with (self.path / "metadata.csv").open("w", newline="") as file:
            csv.writer(file).writerows(self.lines)

    def add(self, name: str, samples: NDArray[Any], *, rate: int = RATE, subtype: str = "PCM_16", **texts: str) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(self.path / name, samples, rate, subtype=subtype)
        self.list(name, **texts)

    def put(self, name: str, content: bytes) -> None:
        (self.path / name).write_bytes(content)
        self.list(name)


def good_recordings(path: Path) -> Folder:
    raw = Folder(path)
    for number in range(GOOD):
        raw.add(f"song_{number}.wav", tone(300 + 250 * number), split="train" if number % 5 else "test")
    return raw


def prepare(raw: Path, out: Path, data: Audio = DATA, *, workers: int = 1) -> dict[str, Any]:
    preprocess.run(data, raw=raw, out=out, workers=workers)
    statistics: dict[str, Any] = json.loads((out / Dataset.statistics).read_text())
    return statistics


def table(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]
