"""preprocess: raw files in, training arrays out."""

import collections
import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

from linnet.artifacts import Dataset, Raw, input_hash, is_current, write_provenance
from linnet.data.layouts.audio_folder import read_recordings
from linnet.data.layouts.caltech import read_index
from linnet.data.raw import RawDataError
from linnet.files import new_folder, write_json
from linnet.modalities import audio_preprocess, image_preprocess
from linnet.modalities.prepared import Prepared, Rejected
from linnet.progress import log
from linnet.recipe import Audio, DataSection, Images
from linnet.stages.table import PREPROCESS


def run(data: DataSection, *, raw: Path, out: Path, workers: int) -> None:
    """Turn the images or recordings below `raw` into the dataset folder `out`.

    Raises:
        RawDataError: nothing usable, an empty split, or more rejects than `data.max_rejected_fraction`.
    """
    _check_raw(data, raw)
    inputs = {"raw": Raw.content_hash(raw)}
    if is_current(out, input_hash(PREPROCESS, [data], inputs)):
        log(f"{out}: already made from this data and these settings")
        return
    with new_folder(out) as folder:
        prepared = _prepare(data, raw, folder, workers)
        _write_rejected(folder / Dataset.rejected, prepared.rejected)
        kept = out.with_name(f"{out.name}-{Dataset.rejected}")
        if len(prepared.rejected) > data.max_rejected_fraction * prepared.listed:
            _write_rejected(kept, prepared.rejected)
            raise RawDataError(_too_many(data, prepared, kept))
        kept.unlink(missing_ok=True)
        statistics = prepared.statistics
        if min(statistics["train_count"], statistics["test_count"]) < 2:
            raise RawDataError(
                f"{raw}: {statistics['train_count']} examples to train on and {statistics['test_count']} to test on, "
                "both must be 2 or more. Bring more data or change [data.split]."
            )
        write_json(folder / Dataset.statistics, statistics)
        (folder / Dataset.report).write_text(prepared.page(), encoding="utf-8")
        write_provenance(folder, PREPROCESS, [data], inputs)
    log(f"{out}: {statistics['train_count']} train, {statistics['test_count']} test, {len(prepared.rejected)} rejected")


def _check_raw(data: DataSection, raw: Path) -> None:
    """A missing folder is named before anything is hashed."""
    match data:
        case Images():
            read_index(raw)
        case Audio():
            read_recordings(raw, data)
        case _:
            assert_never(data)


def _prepare(data: DataSection, raw: Path, folder: Path, workers: int) -> Prepared:
    match data:
        case Images():
            return image_preprocess.prepare(data, raw=raw, folder=folder, workers=workers)
        case Audio():
            return audio_preprocess.prepare(data, raw=raw, folder=folder, workers=workers)
        case _:
            assert_never(data)


def _write_rejected(path: Path, rejected: Sequence[Rejected]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["number", "name", "reason"])
        writer.writerows((row.number, row.name, row.reason) for row in rejected)


def _too_many(data: DataSection, prepared: Prepared, kept: Path) -> str:
    reasons = collections.Counter(row.reason for row in prepared.rejected).most_common(3)
    common = "; ".join(f"{count} x {reason}" for reason, count in reasons)
    return (
        f"{len(prepared.rejected)} of {prepared.listed} listed files were rejected, the recipe allows "
        f"max_rejected_fraction = {data.max_rejected_fraction:g} ({common}). All are listed in {kept}. Mend the data "
        "(`linnet ingest` or `dvc pull` again) or raise the limit in [data]."
    )


def usable_cores() -> int:
    """Cores this process may run on (a container's share, not the node's)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
