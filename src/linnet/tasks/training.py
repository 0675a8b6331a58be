"""Where a training runs: in this process, in several of this machine, or on many nodes that share a place for files."""

import os
import tempfile
from pathlib import Path

import torch
from pydantic import ValidationError

from linnet import storage
from linnet.artifacts import Dataset, git_commit, is_current, read_provenance
from linnet.errors import LinnetError, first_line
from linnet.files import PROVENANCE, copy_folder, new_folder, write_text
from linnet.launch import torchrun, trainjob
from linnet.launch.trainjob import TrainJobSettings
from linnet.models.device import DeviceError, pick_device
from linnet.progress import log
from linnet.recipe import Recipe
from linnet.stages import train as stage
from linnet.tasks.environment import require_shared

CHECKPOINT_SECONDS = 60.0
TOLD_TO_NODES = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_NAME",
    "AWS_ENDPOINT_URL_S3",
    "AWS_DEFAULT_REGION",
    "LINNET_PIPELINE_RUN",
)
RECIPE, DATASET, MODEL, WORK = "recipe.json", "dataset", "model", "work"  # what lies in a shared place


class SharedPlaceError(LinnetError):
    """What the nodes of a training share is missing or not theirs."""


def default_processes(device: torch.device) -> int:
    """One for each GPU; one on a CPU, which a single process uses whole."""
    return max(1, torch.cuda.device_count()) if device.type == "cuda" else 1


def check_gpus(promised: int) -> None:
    """Raises DeviceError if this pod sees fewer GPUs than it asked for: a week on the CPU helps nobody."""
    if (seen := torch.cuda.device_count()) < promised:
        raise DeviceError(
            f"this pod asked for {promised} GPUs and torch sees {seen}; check the node's driver and device plugin, or "
            "set gpus in pipelines/clusters/default.toml"
        )


def on_this_machine(
    recipe: Recipe,
    *,
    dataset: Path,
    out: Path,
    work: str,
    device: torch.device,
    processes: int = 0,
    checkpoint_every_seconds: float = CHECKPOINT_SECONDS,
    keep_checkpoint: bool = False,
    track: bool = True,
) -> None:
    """Train in `processes` processes (0: one for each GPU). `work` may be an s3:// address: checkpoints outlive us."""
    remote = storage.is_s3_url(work)
    local = Path(tempfile.gettempdir()) / "linnet-work" if remote else Path(work)
    torchrun.start(
        stage.run,
        recipe,
        processes=processes or default_processes(device),
        dataset=dataset,
        out=out,
        work=local / recipe.name,
        mirror=storage.join(work, recipe.name) if remote else None,
        device=device,
        checkpoint_every_seconds=checkpoint_every_seconds,
        keep_checkpoint=keep_checkpoint,
        track=track,
    )


def on_many_nodes(recipe: Recipe, *, dataset: Path, out: Path, work: str, num_nodes: int) -> None:
    """Put recipe and dataset where all nodes see them, have a TrainJob train, and fetch the model.

    Raises:
        PlaceError: LINNET_WORK is a folder that only this pod sees.
        TrainJobError: the job failed, or the cluster refuses it.
        StorageError: the shared place does not answer.
    """
    settings = TrainJobSettings.from_environment()
    require_shared(work, settings)
    key = stage.training_key(recipe, Dataset.content_hash(dataset))
    place = storage.join(work, f"nodes-{key[:16]}")
    publish(recipe, dataset, place)
    told = {name: os.environ[name] for name in TOLD_TO_NODES if name in os.environ}
    told["LINNET_GIT_COMMIT"] = git_commit()
    settings = settings.model_copy(update={"environment": settings.environment | told})
    trainjob.run(settings, key=key, num_nodes=num_nodes, arguments=["train-shared", place])
    fetch(place, out, job=trainjob.job_name(key))


def fetch(place: str, out: Path, *, job: str) -> None:
    """Bring the model that the nodes left in `place`. Raises SharedPlaceError if it is gone."""
    model = storage.join(place, MODEL)
    remote = storage.is_s3_url(place)
    if not (storage.is_complete(model) if remote else (Path(model) / PROVENANCE).is_file()):
        raise SharedPlaceError(
            f"{model} is not there, though the TrainJob is complete: somebody removed it. Delete the job (kubectl "
            f"delete trainjob {job}) and start the training again"
        )
    if remote:
        storage.download_folder(model, out)
    else:
        _copy(Path(model), out)


def in_shared_place(place: str) -> None:
    """What each process of a TrainJob runs: train what lies in `place`, and leave the model there.

    Raises:
        StorageError, ArtifactError: `place` does not hold a recipe and a dataset.
    """
    first = os.environ.get("RANK", "0") == "0"
    local = _bring(place) if storage.is_s3_url(place) else Path(place)
    recipe = _read_recipe(local / RECIPE)
    remote = storage.is_s3_url(place)
    if remote and storage.is_complete(storage.join(place, MODEL)):
        log(f"{place}: already trained")
        return
    stage.run(
        recipe,
        dataset=local / DATASET,
        out=local / MODEL,
        work=local / WORK,
        mirror=storage.join(place, WORK) if remote else None,
        device=pick_device(os.environ.get("LINNET_DEVICE") or "auto"),
        checkpoint_every_seconds=CHECKPOINT_SECONDS,
        keep_checkpoint=remote,  # until the model has arrived
        track=True,
    )
    if remote and first:
        storage.upload_folder(local / MODEL, storage.join(place, MODEL))
        storage.remove(storage.join(place, WORK))


def _read_recipe(path: Path) -> Recipe:
    try:
        return Recipe.model_validate_json(path.read_bytes())
    except ValidationError as reason:
        raise SharedPlaceError(
            f"{path}: is no recipe of this version of linnet ({first_line(reason)}); start the training again"
        ) from None


def publish(recipe: Recipe, dataset: Path, place: str) -> None:
    """Put what the nodes need into `place`."""
    text = recipe.model_dump_json(indent=2, by_alias=True) + "\n"
    if not storage.is_s3_url(place):
        if not is_current(Path(place) / DATASET, read_provenance(dataset, made_by="preprocess")["input_hash"]):
            _copy(dataset, Path(place) / DATASET)
        write_text(Path(place) / RECIPE, text)
        return
    if storage.is_complete(storage.join(place, DATASET)):
        return  # a task that was started again: its nodes may be reading
    with tempfile.TemporaryDirectory() as scratch:
        write_text(Path(scratch) / RECIPE, text)
        storage.upload_file(Path(scratch) / RECIPE, storage.join(place, RECIPE))
    storage.upload_folder(dataset, storage.join(place, DATASET))


def _bring(place: str) -> Path:
    """Recipe and dataset on this node's disk; its processes share one copy."""
    local = Path(tempfile.gettempdir()) / "linnet-nodes" / place.rpartition("/")[2]
    local.mkdir(parents=True, exist_ok=True)
    own = local / f"{RECIPE}.{os.getpid()}"
    storage.download_file(storage.join(place, RECIPE), own)
    own.replace(local / RECIPE)
    storage.download_folder(storage.join(place, DATASET), local / DATASET)
    return local


def _copy(source: Path, out: Path) -> None:
    with new_folder(out) as folder:
        copy_folder(source, folder)
