"""Where training runs: in one process or several on this machine, or on many nodes with a shared location for files."""

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
from linnet.models.memory import available_on
from linnet.progress import log
from linnet.recipe import CompactUNet, NamedTrainingRecipe
from linnet.stages import train as stage
from linnet.stages.preprocess import usable_cores
from linnet.tasks.environment import require_shared
from linnet.training.memory import describe_batch

CHECKPOINT_SECONDS = 60.0
CPU_EXAMPLES_PER_PROCESS = 4
FORWARDED_ENV = (  # to the nodes of a TrainJob; keys come from secrets
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_NAME",
    "AWS_ENDPOINT_URL_S3",
    "AWS_DEFAULT_REGION",
    "LINNET_PIPELINE_RUN",
)
RECIPE, DATASET, MODEL, WORK = "recipe.json", "dataset", "model", "work"  # names in a shared location


class SharedLocationError(LinnetError):
    """The shared location of a training lacks what it needs, or is of another version of linnet."""


def default_processes(recipe: NamedTrainingRecipe, device: torch.device) -> int:
    """One process for each GPU; on a CPU as many as leave four examples of a batch or more to each.

    Processes of one thread lose little to busy neighbours, where threads wait for each other many times a step
    (docs/performance.md). Batch norm over several processes needs GPUs.
    """
    if device.type == "cuda":
        return max(1, torch.cuda.device_count())
    if isinstance(recipe.model, CompactUNet) and recipe.model.noise_injection == "input":
        return 1
    size = recipe.train.batch_size
    counts = (count for count in range(1, usable_cores() + 1) if size % count == 0)
    return max(count for count in counts if count == 1 or size // count >= CPU_EXAMPLES_PER_PROCESS)


def check_gpus(requested: int) -> None:
    """Raises DeviceError if this pod has fewer GPUs than it requested: a week on the CPU helps nobody."""
    if (visible := torch.cuda.device_count()) < requested:
        raise DeviceError(
            f"this pod requested {requested} GPUs and torch sees {visible}; check the node's driver and device plugin, "
            "or set gpus in pipelines/clusters/default.toml"
        )


def on_this_machine(
    recipe: NamedTrainingRecipe,
    *,
    dataset: Path,
    out: Path,
    work: str,
    device: torch.device,
    processes: int = 0,
    checkpoint_every_seconds: float = CHECKPOINT_SECONDS,
    keep_checkpoint: bool = False,
    track: bool = True,
    passes: int = 1,
    deterministic: bool = False,
) -> None:
    """Train in `processes` processes (0: `default_processes`).

    Where `work` is an s3:// address, checkpoints outlive this machine.
    """
    remote = storage.is_s3_url(work)
    local = Path(tempfile.gettempdir()) / "linnet-work" if remote else Path(work)
    processes, free = processes or default_processes(recipe, device), available_on(device)
    try:
        torchrun.start(
            stage.run,
            recipe,
            processes=processes,
            dataset=dataset,
            out=out,
            work=local / recipe.name,
            mirror=storage.join(work, recipe.name) if remote else None,
            device=device,
            checkpoint_every_seconds=checkpoint_every_seconds,
            keep_checkpoint=keep_checkpoint,
            track=track,
            passes=passes,
            deterministic=deterministic,
        )
    except torchrun.KilledError as error:
        raise torchrun.KilledError(
            f"{error}. {describe_batch(recipe.training(), device, free, ranks=processes, passes=passes)}"
        ) from None


def on_many_nodes(recipe: NamedTrainingRecipe, *, dataset: Path, out: Path, work: str, num_nodes: int) -> None:
    """Publish recipe and dataset to a location that all nodes share, train in a TrainJob, and fetch the model.

    Raises:
        WorkLocationError: LINNET_WORK is a folder that only this pod sees.
        TrainJobError: the job failed, or the cluster refused it.
        StorageError: the shared location does not answer.
    """
    settings = TrainJobSettings.from_environment()
    require_shared(work, settings)
    key = stage.training_key(recipe, Dataset.content_hash(dataset), recipe.train.precision)
    location = storage.join(work, f"nodes-{key[:16]}")
    publish(recipe, dataset, location)
    forwarded = {name: os.environ[name] for name in FORWARDED_ENV if name in os.environ}
    forwarded["LINNET_GIT_COMMIT"] = git_commit()
    settings = settings.model_copy(update={"environment": settings.environment | forwarded})
    trainjob.run(settings, key=key, num_nodes=num_nodes, arguments=["train-shared", location])
    fetch(location, out, job=trainjob.job_name(key))


def fetch(location: str, out: Path, *, job: str) -> None:
    """Copy the model that the nodes left in `location` to `out`. Raises SharedLocationError if it is gone."""
    model = storage.join(location, MODEL)
    remote = storage.is_s3_url(location)
    if not (storage.is_complete(model) if remote else (Path(model) / PROVENANCE).is_file()):
        raise SharedLocationError(
            f"{model} is not there, though the TrainJob is complete: somebody removed it. Delete the job (kubectl "
            f"delete trainjob {job}) and start the training again"
        )
    if remote:
        storage.download_folder(model, out)
    else:
        _copy(Path(model), out)


def in_shared_location(location: str) -> None:
    """Train the recipe and dataset in `location` and leave the model there: each process of a TrainJob runs this.

    Raises:
        StorageError, ArtifactError: `location` does not hold a recipe and a dataset.
    """
    is_main_process = os.environ.get("RANK", "0") == "0"
    remote = storage.is_s3_url(location)
    local = _download(location) if remote else Path(location)
    recipe = _read_recipe(local / RECIPE)
    if remote and storage.is_complete(storage.join(location, MODEL)):
        log(f"{location}: already trained")
        return
    stage.run(
        recipe,
        dataset=local / DATASET,
        out=local / MODEL,
        work=local / WORK,
        mirror=storage.join(location, WORK) if remote else None,
        device=pick_device(os.environ.get("LINNET_DEVICE") or "auto"),
        checkpoint_every_seconds=CHECKPOINT_SECONDS,
        keep_checkpoint=remote,  # until the model is uploaded
        track=True,
    )
    if remote and is_main_process:
        storage.upload_folder(local / MODEL, storage.join(location, MODEL))
        storage.remove(storage.join(location, WORK))


def _read_recipe(path: Path) -> NamedTrainingRecipe:
    try:
        return NamedTrainingRecipe.model_validate_json(path.read_bytes())
    except ValidationError as reason:
        raise SharedLocationError(
            f"{path}: is no recipe of this version of linnet ({first_line(reason)}); start the training again"
        ) from None


def publish(recipe: NamedTrainingRecipe, dataset: Path, location: str) -> None:
    """Copy the recipe and the dataset to `location`, where the nodes read them."""
    text = recipe.model_dump_json(indent=2, by_alias=True) + "\n"
    if not storage.is_s3_url(location):
        if not is_current(Path(location) / DATASET, read_provenance(dataset, made_by="preprocess")["input_hash"]):
            _copy(dataset, Path(location) / DATASET)
        write_text(Path(location) / RECIPE, text)
        return
    if storage.is_complete(storage.join(location, DATASET)):
        return  # a task that was started again: its nodes may be reading
    with tempfile.TemporaryDirectory() as scratch:
        write_text(Path(scratch) / RECIPE, text)
        storage.upload_file(Path(scratch) / RECIPE, storage.join(location, RECIPE))
    storage.upload_folder(dataset, storage.join(location, DATASET))


def _download(location: str) -> Path:
    """The folder of recipe and dataset on this node's disk; the processes of the node share one copy."""
    local = Path(tempfile.gettempdir()) / "linnet-nodes" / location.rpartition("/")[2]
    local.mkdir(parents=True, exist_ok=True)
    own = local / f"{RECIPE}.{os.getpid()}"
    storage.download_file(storage.join(location, RECIPE), own)
    own.replace(local / RECIPE)
    storage.download_folder(storage.join(location, DATASET), local / DATASET)
    return local


def _copy(source: Path, out: Path) -> None:
    with new_folder(out) as folder:
        copy_folder(source, folder)
