"""Train again, the whole way, if there is a reason to: for cron and CI, without an engine."""

from pathlib import Path

import torch

from linnet.files import path_lock
from linnet.progress import log
from linnet.recipe import Recipe
from linnet.registry import lineage
from linnet.stages import evaluate, ingest, preprocess, register, restore, sample
from linnet.stages.table import result_code_hash
from linnet.tasks import training
from linnet.tasks.boundary import RESTORE_BATCH, SAMPLE_BATCH
from linnet.tasks.kubeflow import run_state
from linnet.tracking.client import check_server
from linnet.tracking.closing import close_leftovers


def run(
    recipe: Recipe,
    *,
    source: str | None,
    data: Path,
    build: Path,
    work: Path,
    device: torch.device,
    feature_weights: Path | None,
    feature_sha256: str | None,
    dry_run: bool,
) -> bool:
    """Ingest, compare with the registry, and go from preprocess to register if something changed; whether it did.

    Raises:
        LinnetError: as the stages do.
    """
    check_server(outlives_pods=False)  # hours before the model is to be registered there
    close_leftovers(run_state)
    raw = data / recipe.data.folder
    ingest.run(recipe.data, source=source, out=raw, work=work / "downloads")
    comparison = lineage.compare(recipe, raw=raw, code_hash=result_code_hash())
    log(f"{recipe.name}: {comparison.reason}")
    if not comparison.changed or dry_run:
        return comparison.changed
    folder = build / recipe.name
    names = ("dataset", "model", "samples", "restored", "report")
    dataset, model, samples, restored, report = (folder / name for name in names)
    preprocess.run(recipe.data, raw=raw, out=dataset, workers=preprocess.usable_cores())
    training.on_this_machine(recipe, dataset=dataset, out=model, work=str(work), device=device)
    sample.run(recipe, model=model, out=samples, device=device, batch_size=SAMPLE_BATCH)
    restore.run(recipe, dataset=dataset, model=model, out=restored, device=device, batch_size=RESTORE_BATCH)
    evaluate.run(
        recipe,
        dataset=dataset,
        model=model,
        samples=samples,
        restored=restored,
        out=report,
        device=device,
        feature_weights=feature_weights,
        feature_sha256=feature_sha256,
        batch_size=SAMPLE_BATCH,
        track_run=True,
    )
    with path_lock(folder / "registration"):
        register.run(recipe, model=model, report=report, out=folder / "registration")
    return True
