"""preprocess: raw files in, training arrays out."""

import collections
import csv
import os
from collections.abc import Sequence
from pathlib import Path

from linnet.artifacts import Dataset, Raw, input_hash, is_current, write_provenance
from linnet.data.layouts.dispatch import layout_reader
from linnet.data.raw import RawDataError
from linnet.files import new_folder, write_json
from linnet.modalities.base import Preprocessed, Rejected
from linnet.modalities.dispatch import get_modality
from linnet.modalities.summary import notes
from linnet.progress import log
from linnet.recipe import DataSection
from linnet.stages.table import PREPROCESS


def run(data: DataSection, *, raw: Path, out: Path, workers: int) -> None:
    """Turn the images or recordings below `raw` into the dataset folder `out`.

    Raises:
        RawDataError: nothing usable, an empty split, or more rejects than `data.max_rejected_fraction`.
    """
    layout_reader(data).verify(raw)  # a missing folder is named before anything is hashed
    inputs = {"raw": Raw.content_hash(raw)}
    if is_current(out, input_hash(PREPROCESS, [data], inputs)):
        log(f"{out}: already made from this data and these settings")
        return
    with new_folder(out) as folder:
        result = get_modality(data).preprocess(raw=raw, folder=folder, workers=workers)
        _write_rejected(folder / Dataset.rejected, result.rejected)
        kept = out.with_name(f"{out.name}-{Dataset.rejected}")
        if len(result.rejected) > data.max_rejected_fraction * result.num_listed:
            _write_rejected(kept, result.rejected)
            raise RawDataError(_too_many(data, result, kept))
        kept.unlink(missing_ok=True)
        if min(result.train_count, result.test_count) < 2:
            raise RawDataError(
                f"{raw}: {result.train_count} examples to train on and {result.test_count} to test on, both must be 2 "
                "or more, and equal files are all on one side. Bring more data or change [data.split]."
            )
        statistics, summary = result.measure()
        write_json(folder / Dataset.statistics, statistics.model_dump())
        write_json(folder / Dataset.summary, summary.model_dump())
        write_provenance(folder, PREPROCESS, [data], inputs)
    for sentence in notes(statistics, summary):
        log(f"preprocess: {sentence}")
    log(f"{out}: {result.train_count} train, {result.test_count} test, {len(result.rejected)} rejected")


def _write_rejected(path: Path, rejected: Sequence[Rejected]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["number", "name", "reason"])
        writer.writerows((row.number, row.name, row.reason) for row in rejected)


def _too_many(data: DataSection, result: Preprocessed, kept: Path) -> str:
    reasons = collections.Counter(row.reason for row in result.rejected).most_common(3)
    common = "; ".join(f"{count} x {reason}" for reason, count in reasons)
    return (
        f"{len(result.rejected)} of {result.num_listed} listed files were rejected, the recipe allows "
        f"max_rejected_fraction = {data.max_rejected_fraction:g} ({common}). All are listed in {kept}. Mend the data "
        "(`linnet ingest` or `dvc pull` again) or raise the limit in [data]."
    )


def usable_cores() -> int:
    """Cores this process may run on (a container's share, not the node's)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
