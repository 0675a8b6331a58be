"""Parquet files of recordings as Hugging Face's `datasets` library writes them, with all that a column can hold."""

import io
import wave
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FEATURES = datasets.Features(
    {
        "text": datasets.Value("string"),
        "audio": datasets.Audio(),
        "genre": datasets.ClassLabel(names=["folk", "jazz"]),
        "tags": datasets.List(datasets.Value("string")),
        "moods": datasets.List(datasets.ClassLabel(names=["calm", "wild"])),
        "year": datasets.Value("int32"),
        "embedding": datasets.List(datasets.List(datasets.Value("float32"))),
        "where": {"town": datasets.Value("string")},
    }
)


def wav(number: int, samples: int = 200) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(np.random.default_rng(number).integers(-999, 999, samples).astype("<i2").tobytes())
    return stream.getvalue()


def row(number: int) -> dict[str, Any]:
    return {
        "text": f"recording {number}\nof \x07 many",
        "audio": {"bytes": wav(number), "path": f"../../etc/recording {number}.wav"},
        "genre": number % 2,
        "tags": ["slow", "sad"] if number % 2 else ["fast"],
        "moods": [0, 1],
        "year": 1990 + number,
        "embedding": [[0.5]],
        "where": {"town": "Bonn"},
    }


def parquet(rows: list[dict[str, Any]], features: datasets.Features = FEATURES) -> bytes:
    stream = io.BytesIO()
    columns = {name: [one[name] for one in rows] for name in features}
    pq.write_table(pa.table(columns, schema=features.arrow_schema), stream, row_group_size=2)
    return stream.getvalue()
