"""Training on nodes that share a location for files: as a TrainJob of Kubeflow Trainer, or under torchrun anywhere."""

import json
import os
import tempfile
from pathlib import Path

from pydantic import ValidationError

from linnet import storage
from linnet.artifacts import Dataset, git_commit, is_current, read_provenance
from linnet.engine import PIPELINE_RUN_VARIABLE
from linnet.errors import LinnetError, first_line
from linnet.files import PROVENANCE, copy_folder, new_folder, write_text
from linnet.launch import node, trainjob
from linnet.launch.cluster import Cluster
from linnet.launch.leftovers import remove_ended
from linnet.launch.trainjob import SharedFiles, TrainJobSettings
from linnet.models.device import pick_device
from linnet.progress import log
from linnet.recipe import NamedTrainingRecipe
from linnet.stages import train as stage
from linnet.tasks.boundary import task
from linnet.tasks.environment import require_shared
from linnet.tasks.training import CHECKPOINT_SECONDS, check_gpus, cpu_processes
from linnet.tracking.pipeline_runs import join_use

FORWARDED_ENV = (  # to the nodes of a TrainJob; keys come from secrets
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_NAME",
    "AWS_ENDPOINT_URL_S3",
    "AWS_DEFAULT_REGION",
    PIPELINE_RUN_VARIABLE,
    "LINNET_PATIENCE",
)
SHARED = "nodes-"  # the folder that the nodes share is named so, and after the training's key
RECIPE, DATASET, MODEL, WORK = "recipe.json", "dataset", "model", "work"  # names in a shared location
KEEP_DAYS = 14  # TrainJobs that ended, and shared folders that nobody came back for


class SharedLocationError(LinnetError):
    """The shared location of a training lacks what it needs, or is of another version of linnet."""


def as_trainjob(recipe: NamedTrainingRecipe, *, dataset: Path, out: Path, work: str, num_nodes: int) -> None:
    """Publish recipe and dataset to a location that all nodes share, train in a TrainJob, and fetch the model.

    Raises:
        WorkLocationError: LINNET_WORK is a folder that only this pod sees.
        TrainJobError: the job failed, or the cluster refused it.
        StorageError: the shared location does not answer.
    """
    settings = TrainJobSettings.from_environment()
    require_shared(work, settings)
    key = stage.training_key(recipe, Dataset.content_hash(dataset), recipe.train.precision)
    remove_leftovers(settings, work, own=trainjob.job_name(key))
    location = storage.join(work, shared_folder(key))
    forwarded = {name: os.environ[name] for name in FORWARDED_ENV if name in os.environ}
    forwarded["LINNET_GIT_COMMIT"] = git_commit()
    settings = settings.model_copy(update={"environment": settings.environment | forwarded})
    on_cpus = cpu_processes(recipe, settings.whole_cpus) if num_nodes == 1 else 1
    trainjob.run(
        settings,
        key=key,
        num_nodes=num_nodes,
        processes_per_node=settings.gpus_per_node or on_cpus,
        arguments=node_arguments(
            location, gpus=settings.gpus_per_node, stop_seconds=settings.termination_grace_seconds
        ),
        files=SharedFiles(
            publish=lambda: publish(recipe, dataset, location),
            fetch=lambda: fetch(location, out, job=trainjob.job_name(key)),
            remove=lambda: storage.remove(location),
        ),
        tell_use=lambda is_first: join_use(key, is_first=is_first),
    )


def node_arguments(location: str, *, gpus: int, stop_seconds: int) -> list[str]:
    """The command line of `linnet` in every pod of the job."""
    return ["train-node", location, "--gpus", str(gpus), "--stop-seconds", str(stop_seconds)]


def shared_folder(key: str) -> str:
    """The name of the folder that the nodes of the training with this key share."""
    return f"{SHARED}{key[:16]}"


def remove_leftovers(settings: TrainJobSettings, work: str, *, own: str) -> None:
    """Remove TrainJobs that ended, and shared folders in `work` that nothing changed, more than KEEP_DAYS ago.

    A folder stays as long as there is a job for it. What cannot be removed is said, and hinders nobody.
    """
    seconds = KEEP_DAYS * 24 * 3600.0
    try:
        jobs = remove_ended(Cluster(settings.namespace, outage_seconds=0), older_than_seconds=seconds)
        for name, idle in storage.idle_seconds(work, prefix=SHARED).items():
            job = trainjob.JOB_PREFIX + name.removeprefix(SHARED)
            if idle > seconds and job not in jobs and job != own:
                storage.remove(storage.join(work, name))
                log(f"{storage.join(work, name)}: nothing changed there for {idle / 86400:.0f} days, removed")
    except LinnetError as reason:
        log(f"what earlier trainings left was not removed ({reason})")


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


@task
def train_node(location: str, *, gpus: int, stop_seconds: float) -> None:
    """The first process of every pod of a TrainJob: train the recipe and dataset in `location`, leave the model there.

    Its exit status is `FINAL_STATUS` for an error that every further attempt would meet.

    Args:
        gpus: how many this node must have.
        stop_seconds: what it has after SIGTERM, for the last checkpoint.
    """
    with node.stoppable(), node.final_errors():
        check_gpus(gpus)
        node.Node.from_environment().run(in_shared_location, location, stop_seconds=stop_seconds)


def in_shared_location(location: str) -> None:
    """Train the recipe and dataset in `location` and leave the model there: in each training process of every node.

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
    """Of a whole recipe, as people may have written it there, or of what training depends on."""
    try:
        values = json.loads(path.read_bytes())
        needed = {name: values[name] for name in NamedTrainingRecipe.model_fields}
        return NamedTrainingRecipe.model_validate_json(json.dumps(needed))
    except (ValidationError, ValueError, KeyError, TypeError) as reason:
        raise SharedLocationError(
            f"{path}: is no recipe of this version of linnet ({first_line(reason)}); start the training again"
        ) from None


def publish(recipe: NamedTrainingRecipe, dataset: Path, location: str) -> None:
    """Copy the recipe and the dataset to `location`, where the nodes read them.

    The recipe is written in any case, so that the location counts as used now.
    """
    text = recipe.model_dump_json(indent=2, by_alias=True) + "\n"
    if not storage.is_s3_url(location):
        if not is_current(Path(location) / DATASET, read_provenance(dataset, made_by="preprocess")["input_hash"]):
            _copy(dataset, Path(location) / DATASET)
        write_text(Path(location) / RECIPE, text)
        return
    with tempfile.TemporaryDirectory() as scratch:
        write_text(Path(scratch) / RECIPE, text)
        storage.upload_file(Path(scratch) / RECIPE, storage.join(location, RECIPE))
    if not storage.is_complete(storage.join(location, DATASET)):  # else its nodes may be reading
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
