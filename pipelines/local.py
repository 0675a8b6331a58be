"""Run the compiled DAG on this machine, by kfp.local: as processes of this environment, or as containers of the image.

The DAG is the one a cluster gets. What only makes sense there is taken out: a task that fails is not started again.
"""

import os
import re
import shlex
import shutil
import sys
import uuid
import warnings
from contextlib import redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from linnet.artifacts import Registration, git_commit
from linnet.cli import run_command
from linnet.errors import LinnetError
from linnet.files import read_json
from linnet.progress import log
from linnet.recipe.load import load_recipe
from linnet.tasks.environment import HASH_VARIABLES, WEIGHTS_VARIABLES, weights_by_absolute_path
from pipelines.console import WithoutBookkeeping

DEFAULT_ROOT = Path("build/kfp")
FORWARDED_ENV = (  # to containers, where they are set; processes inherit them
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "HF_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_EXPERIMENT_NAME",
    "LINNET_DEVICE",
    "OMP_NUM_THREADS",  # the number of threads changes the last bits
    *HASH_VARIABLES,
)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


class Runner(StrEnum):
    """Where the tasks run."""

    SUBPROCESS = "subprocess"
    CONTAINERS = "containers"


class LocalRunError(LinnetError):
    """The pipeline did not reach its end."""


@app.command()
def run(
    recipe: Path,
    runner: Annotated[Runner, typer.Option(help="Processes of this environment, or containers of the image.")],
    source: Annotated[str, typer.Option(help="As of `linnet ingest`; empty: the built-in set.")] = "",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one recipe value; repeatable."),
    ] = None,
    only_if_changed: Annotated[
        bool, typer.Option(help="Stop early if a registered version was made of the same.")
    ] = False,
    image: Annotated[str, typer.Option(envvar="LINNET_IMAGE", help="For containers: the image.")] = "linnet:dev",
    network: Annotated[
        str, typer.Option(help="For containers: host lets them reach servers on this machine.")
    ] = "bridge",
    root: Annotated[Path, typer.Option(help="Where artifacts go.")] = DEFAULT_ROOT,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show kfp's bookkeeping too.")] = False,
) -> None:
    """Run the whole DAG, check to register, on RECIPE, here and now."""
    load_recipe(recipe, overrides or ())  # mistakes show before anything starts
    if source and Path(source).exists():
        source = str(Path(source).resolve())
    os.environ["LINNET_IMAGE"] = image  # before the components are imported
    environment = _environment()
    os.environ |= environment
    root = root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    before = set(root.iterdir())
    _start(runner, root, environment, network, source)
    pipeline = _load(root)
    log(f"pipeline run {environment['LINNET_PIPELINE_RUN']}: artifacts go to {root}")
    try:
        with redirect_stdout(sys.stdout if verbose else WithoutBookkeeping(sys.stdout)):
            pipeline(
                recipe=recipe.read_text(encoding="utf-8"),
                overrides=shlex.join(overrides or ()),
                source=source,
                only_if_changed=only_if_changed,
            )
    except RuntimeError as reason:  # kfp names the task, whose own message is above
        raise LocalRunError(f"{_failed_task(str(reason))}; its own message is above") from None
    for folder in sorted(set(root.iterdir()) - before):
        _summarise(folder)


def _failed_task(message: str) -> str:
    """The innermost task of kfp's "Inner task failed: 'check' inside 'exit-handler-1' ...", without its colours."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", message)
    found = re.search(r"Inner task failed: '([^']+)'", plain)
    return f"task '{found[1]}' failed" if found else plain.rstrip(".")


def for_one_machine(spec: dict[str, Any]) -> dict[str, Any]:
    """The pipeline spec without what only a cluster can use."""
    for component in [spec["root"], *spec["components"].values()]:
        for task in component.get("dag", {}).get("tasks", {}).values():
            task.pop("retryPolicy", None)
    return spec


def _environment() -> dict[str, str]:
    """Files of weights by their absolute paths, under which containers get them too."""
    here = Path.cwd()
    return (
        weights_by_absolute_path()
        | {name: os.environ[name] for name in FORWARDED_ENV if name in os.environ}
        | {
            "LINNET_PIPELINE_RUN": f"local-{uuid.uuid4()}",
            "LINNET_WORK": os.environ.get("LINNET_WORK") or str(here / ".work"),
            "LINNET_GIT_COMMIT": git_commit(),
            "MLFLOW_TRACKING_URI": os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{here / 'mlflow.db'}",
            "LINNET_MLFLOW_ARTIFACTS": str(here / "mlartifacts"),
        }
    )


def _start(runner: Runner, root: Path, environment: dict[str, str], network: str, source: str) -> None:
    from kfp import local

    warnings.filterwarnings("ignore", "You may be attemping to run a task", RuntimeWarning)  # our image is Python's
    warnings.filterwarnings("ignore", ".*have no effect in the current local runner", UserWarning)
    match runner:
        case Runner.SUBPROCESS:
            local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(root))
        case Runner.CONTAINERS:
            from pipelines import containers

            weights = [environment[name] for name in WEIGHTS_VARIABLES if name in environment]
            mounts = [Path.cwd(), *(Path(path) for path in (source, *weights) if Path(path).is_absolute())]
            containers.prepare(environment, mounts=mounts, network=network)
            local.init(local.DockerRunner(), pipeline_root=str(root))


def _load(root: Path) -> Any:
    from kfp import components

    from pipelines.compile import compile_pipeline

    path = root / ".training.yaml"
    compile_pipeline(path)
    spec, platform = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    path.unlink()
    return components.load_component_from_text(yaml.safe_dump_all([for_one_machine(spec), platform], sort_keys=False))


def _summarise(folder: Path) -> None:
    for path in sorted(folder.glob(f"gate/registration/{Registration.result}")):
        entry = read_json(path, made_by="register")
        title = "champion" if entry["promoted"] else "challenger"
        print(f"{entry['model_name']} version {entry['version']} is {title}: {entry['reason']}")
        print(f"  model   models:/{entry['model_name']}@{title}")
    for name in ("data_page", "samples_page", "restorations_page", "scores_page"):
        for path in sorted(folder.glob(f"*/{name}")):
            page = path.with_suffix(".html")  # browsers go by the name
            shutil.copy(path, page)
            print(f"  look at {page}")


if __name__ == "__main__":
    run_command(
        app,
        if_interrupted="interrupted; nothing half-written was kept, and a repeated run trains on from its checkpoint",
    )
