"""Examples as files and pages: what people look at and listen to."""

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, assert_never

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from linnet.artifacts import Samples
from linnet.audio.pcm import FULL_SCALE
from linnet.audio.spectrogram_image import inline_audio, spectrogram_image
from linnet.modalities.audio_codec import AudioCodec, to_int16
from linnet.modalities.base import Codec, Examples
from linnet.recipe import Audio, DataSection, Images, TrainingRecipe
from linnet.reports import html

PLAYERS = 24
COMPARED_SOUNDS = 3  # of each task
LOUDNESS = ("peak_dbfs", "rms_dbfs")


def write_example(path: Path, example: NDArray[Any], data: DataSection) -> str:
    """One decoded example as `path` with the right ending; returns its name."""
    path = path.with_name(path.name + (".flac" if isinstance(data, Audio) else ".png"))
    with path.open("wb") as file:
        encode_example(file, example, data)
    return path.name


def encode_example(file: BinaryIO, example: NDArray[Any], data: DataSection) -> None:
    """One decoded example as PNG or FLAC."""
    match data:
        case Images():
            file.write(html.png(example))
        case Audio():
            import soundfile

            stream = io.BytesIO()  # soundfile would hide what a full disk says
            soundfile.write(stream, example, data.sample_rate_hz, format="FLAC", subtype="PCM_16")
            file.write(stream.getvalue())
        case _:
            assert_never(data)


def loudness_of(waveform: NDArray[Any]) -> tuple[float, float]:
    """(peak, root mean square) of int16 samples in decibels below full scale; -inf for silence."""
    x = waveform.astype(np.float64) / FULL_SCALE
    levels = (float(np.abs(x).max()), float(np.sqrt((x**2).mean())))
    peak, rms = (20 * math.log10(level) if level else -math.inf for level in levels)
    return peak, rms


def write_page(
    folder: Path,
    recipe: TrainingRecipe,
    examples: Examples,
    prompts: list[str],
    *,
    title: str,
    lead: str,
) -> None:
    """report.html of a folder of samples, with its grid and noising images."""
    figures = {"noising": html.inline_file(folder / Samples.noising)} if (folder / Samples.noising).exists() else {}
    match recipe.data:
        case Images():
            page = html.render(
                "samples.html",
                title=title,
                lead=lead,
                grid=html.inline_file(folder / Samples.grid),
                noising=figures.get("noising", ""),
            )
        case Audio():
            page = html.render(
                "audio.html",
                title=title,
                lead=lead,
                players=players(recipe.data, examples[:PLAYERS], prompts[:PLAYERS]),
                noising=figures.get("noising", ""),
            )
        case _:
            assert_never(recipe.data)
    (folder / Samples.page).write_text(page, encoding="utf-8")


def players(data: Audio, waveforms: Examples, captions: list[str]) -> list[dict[str, Any]]:
    """What pages/player.html needs to show and play waveforms [N, samples]."""
    found: list[dict[str, Any]] = []
    for waveform, caption in zip(waveforms, captions, strict=True):
        peak, rms = loudness_of(waveform)
        image = spectrogram_image(waveform, sample_rate_hz=data.sample_rate_hz)
        audio = inline_audio(waveform, data.sample_rate_hz)
        shown: dict[str, Any] = {"caption": caption, "spectrogram": html.inline_png(image), "audio": audio}
        found.append(shown | {"peak_dbfs": peak, "rms_dbfs": rms})
    return found


def comparisons(codec: Codec, data: DataSection, outcome: Mapping[str, Tensor]) -> list[Any]:
    """Examples restored, for pages: images as one inline sheet, audio as lists of players.

    Args:
        outcome: clean, observed, baseline and restored, natural [N, C, H, W].
    """
    names = ("clean", "observed", "baseline", "restored")
    match data:
        case Images():
            columns = [codec.decode(codec.standardize(outcome[name])) for name in names]
            tiles = np.stack(columns, axis=1).reshape(-1, *columns[0].shape[1:])
            return [html.inline_png(html.grid(tiles, columns=len(names)), scale=max(1, 64 // tiles.shape[1]))]
        case Audio():
            assert isinstance(codec, AudioCodec)
            audio = {name: to_int16(codec.waveform(outcome[name][:COMPARED_SOUNDS])) for name in names}
            return [
                players(data, np.stack([audio[name][row] for name in names]), list(names))
                for row in range(len(audio["clean"]))
            ]
        case _:
            assert_never(data)
