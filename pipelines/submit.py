"""`python -m pipelines.submit RECIPE`: one run of the training pipeline on a cluster."""

import os
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import kfp.client
import typer
import urllib3
import yaml
from kfp_server_api import ApiException

from linnet.cli import INTERRUPTED, run_command
from linnet.errors import LinnetError
from linnet.progress import log
from linnet.recipe.load import RecipeError, load_recipe
from linnet.tasks.kubeflow import state_of
from linnet.tasks.request import FOLDER, NAME
from pipelines import connection as to
from pipelines.clusters.profile import DEFAULT_PROFILE
from pipelines.connection import ClusterError, Connection, NoAnswerError

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)

SECONDS_BETWEEN_LOOKS = 10.0
PATIENCE_SECONDS = 300.0  # a run takes hours: a server that restarts meanwhile is no reason to stop looking
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")  # kfp's own wait never ends for CANCELED


@app.command()
def submit(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", help="A file, whose text is sent, or the name of a recipe in the image (birds-demo)."
        ),
    ],
    source: Annotated[
        str,
        typer.Option(
            help="Raw data: s3://..., hf:OWNER/NAME@REV, dvc:REPO@REV, caltech, synthetic; left out: the built-in set."
        ),
    ] = "",
    num_nodes: Annotated[int | None, typer.Option(min=1, help="Nodes that train together.")] = None,
    only_if_changed: Annotated[
        bool,
        typer.Option(
            "--only-if-changed",
            help="End without training if source, recipe and code are those of a version already in the registry.",
        ),
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one recipe value; repeatable."),
    ] = None,
    image: to.Image = "",
    cluster: to.ClusterProfile = DEFAULT_PROFILE,
    host: to.Host = "",
    namespace: to.Namespace = "",
    experiment: to.Experiment = "linnet",
    token_env: to.TokenEnv = to.TOKEN_VARIABLE,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end; exit status 1 if it fails.")] = False,
) -> None:
    """Train a recipe on a Kubeflow Pipelines cluster: check, compile, submit; prints the run's name, id and link.

    The token comes from the environment variable KFP_TOKEN, never from the command line. What the cluster lacks for a
    run, `make cluster-check` says before.
    """
    name, text = read_recipe(recipe, overrides or ())
    arguments = run_arguments(text, shlex.join(overrides or ()), source, num_nodes, only_if_changed)
    connection = to.read_connection(host, namespace, experiment, token_env)
    with to.compiled(image, cluster) as package, to.connected(connection) as client:
        _require_image(image)
        _close_leftovers(client)
        title = " ".join([name, *(overrides or ()), f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}"])
        run_id = create_run(client, connection, package, arguments, title)
        print(f"name  {title}\nid    {run_id}\nlink  {to.ui_link(connection, 'runs', run_id)}")
        if wait:
            _wait(client, connection, run_id, task_names(package))


def _require_image(image: str) -> None:
    """Raises ClusterError if the registry says that it lacks the image, for which pods would wait in vain."""
    from pipelines.cluster_check.row import NotKnownError
    from pipelines.cluster_check.services import image_row

    try:
        row = image_row(image, urllib3.Timeout(connect=2.0, read=3.0))
    except NotKnownError:  # the nodes may know the registry, or have a login
        return
    if row.verdict == "missing":
        raise ClusterError(f"{row.found}; {row.remedy}")


def create_run(
    client: kfp.client.Client,
    connection: Connection,
    package: Path,
    arguments: Mapping[str, str | int | bool],
    title: str,
    *,
    caching: bool | None = None,
) -> str:
    """The id of a new run of a compiled pipeline; `caching` False executes what the cache holds, too."""
    with to.without_kfps_links():
        run = client.create_run_from_pipeline_package(
            str(package),
            arguments=dict(arguments),
            run_name=title,
            experiment_name=connection.experiment,
            enable_caching=caching,
        )
    return str(run.run_id)


def read_recipe(recipe: str, overrides: Sequence[str]) -> tuple[str, str]:
    """(name, what is sent): the text of a file as it is, or the name of a recipe in the image.

    Raises:
        RecipeError: there is no such recipe, or it has a mistake, or an override has.
    """
    in_image = FOLDER / f"{recipe}.toml"
    if re.fullmatch(NAME, recipe) and in_image.is_file():
        return load_recipe(in_image, overrides).name, recipe
    name = load_recipe(Path(recipe), overrides).name
    return name, Path(recipe).read_text(encoding="utf-8")


def run_arguments(
    recipe: str, overrides: str, source: str, num_nodes: int | None, only_if_changed: bool
) -> dict[str, str | int | bool]:
    """The parameters of `training_pipeline`, by name. What is None is left to the pipeline's own default.

    Raises:
        RecipeError: the source is a path of this machine, which no pod can see.
    """
    if source not in ("", "synthetic", "caltech") and not source.startswith(("s3://", "hf:", "dvc:")):
        raise RecipeError(
            f"source {source}: no pod can see a path on this machine; give an s3:// address, hf:OWNER/NAME@REV, "
            "dvc:REPO@REV, caltech or synthetic"
        )
    given = {} if num_nodes is None else {"num_nodes": num_nodes}
    return {"recipe": recipe, "overrides": overrides, "source": source, "only_if_changed": only_if_changed, **given}


def _close_leftovers(client: kfp.client.Client) -> None:
    """Close what earlier runs left open in MLflow, where it can be reached from here; that it cannot is no reason."""
    if not os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http"):
        return
    from linnet.tracking.closing import close_leftovers

    def ask(run_id: str) -> str | None:
        try:
            return state_of(client.get_run(run_id).to_dict())
        except ApiException:
            return None

    try:
        close_leftovers(ask)
    except LinnetError as reason:
        log(f"{reason}. What earlier runs left open there stays so")


def task_names(package: Path) -> list[str]:
    """The names of the tasks in a compiled pipeline; a run's details list drivers and layers beside them."""
    spec = next(iter(yaml.safe_load_all(package.read_text(encoding="utf-8"))))
    return [name.removeprefix("exec-") for name in spec["deploymentSpec"]["executors"]]


def _wait(client: kfp.client.Client, connection: Connection, run_id: str, names: Sequence[str]) -> None:
    link = to.ui_link(connection, "runs", run_id)

    def look() -> Any:
        with to.failures_explained(connection, "the server may be restarting"):
            return client.get_run(run_id)

    try:
        run = follow(look)
    except KeyboardInterrupt:
        log(f"linnet: no longer following; the run goes on: {link}")
        raise typer.Exit(INTERRUPTED) from None
    except ClusterError as error:
        raise ClusterError(f"{error}\nthe run goes on without being followed: {link}") from None
    if run.state != "SUCCEEDED":
        raise ClusterError(
            f"the run ended as {run.state}{_failed_tasks(run, names)}; why is in the artifact `outcome` of its task "
            f"Close: {link}"
        )


def follow(look: Callable[[], Any]) -> Any:
    """The run that `look` finds, once it has ended; each change of its state is logged. Raises ClusterError."""
    state, last_answer = "", time.monotonic()
    while True:
        try:
            run = look()
            last_answer = time.monotonic()
        except NoAnswerError as error:
            if time.monotonic() - last_answer >= PATIENCE_SECONDS:
                raise
            log(f"{error}; still trying")
        else:
            if run.state and run.state != state:
                state = run.state
                log(f"the run is {state}")
            if state in ENDED:
                return run
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _failed_tasks(run: Any, names: Sequence[str]) -> str:
    tasks = (run.run_details and run.run_details.task_details) or []
    failed = {task.display_name for task in tasks if task.state == "FAILED"}
    found = [name for name in names if name in failed]
    return f" in {', '.join(found)}" if found else ""


if __name__ == "__main__":
    run_command(app)
