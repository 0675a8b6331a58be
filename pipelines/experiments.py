"""DVC experiments of this project, run one at a time in a clone of it."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import linnet
from linnet.artifacts import Report
from linnet.errors import redact_credentials
from linnet.progress import log
from linnet.recipe import Recipe
from linnet.recipe.load import RecipeError, parse_recipe
from linnet.tasks.environment import WEIGHTS_VARIABLES

TRACKED = ("src", "recipes", "dvc.yaml", "params.yaml", "data.dvc")  # what an experiment is made of
QUIET = {"DVC_NO_ANALYTICS": "1", "GIT_PYTHON_REFRESH": "quiet", "DVC_EXP_AUTO_PUSH": "false"}
STOPPING_SECONDS = 120.0  # for a checkpoint to be written


class ExperimentError(RecipeError):
    """The project is not ready for experiments, or one of them did not reach its end."""


def command(folder: Path, *arguments: str) -> str:
    """Run a program in `folder` and return what it printed. Raises ExperimentError with its last complaint."""
    done = subprocess.run(arguments, cwd=folder, env=os.environ | QUIET, capture_output=True, text=True, check=False)
    if done.returncode:
        name = " ".join(part for part in arguments if part not in (sys.executable, "-m"))[:80]
        complaint = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise ExperimentError(f"`{name}` in {folder}: {complaint[-1]}")
    return done.stdout


def git(folder: Path, *arguments: str) -> str:
    """Run git in `folder`. Raises ExperimentError."""
    return command(folder, "git", *arguments)


def dvc(folder: Path, *arguments: str) -> str:
    """Run DVC in `folder`. Raises ExperimentError."""
    return command(folder, sys.executable, "-m", "dvc", *arguments)


def check_project(root: Path) -> None:
    """Raises ExperimentError unless `root` is this project, and git knows all that experiments are made of."""
    if find_spec("dvc") is None:
        raise ExperimentError("DVC is not installed: install linnet with its extra 'dvc' (`make setup` does)")
    if not (root / ".dvc").is_dir() or not (root / "dvc.yaml").is_file():
        raise ExperimentError(f"{root} is no folder with dvc.yaml and .dvc/; run this in the project's own folder")
    if Path(linnet.__file__).resolve().parent != root / "src" / "linnet":
        raise ExperimentError(
            f"linnet would be imported from {Path(linnet.__file__).parent}, not from this project's src/; run "
            "`make sweep` here"
        )
    if unknown := git(root, "ls-files", "--others", "--exclude-standard", "--", *TRACKED).split("\n")[:-1]:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise ExperimentError(
            f"git does not know {', '.join(unknown[:3])}{more}: an experiment would run without; `git add` what "
            "belongs to it, and repeat"
        )


def experiment_names(root: Path) -> set[str]:
    """Of all experiments, whichever commit they started from."""
    return {name.rpartition("/")[2] for name in git(root, "for-each-ref", "--format=%(refname)", "refs/exps").split()}


def literal(value: Any, between: str) -> str:
    """JSON with bare keys and `between` after them: " = " makes it a value of TOML, ":" one of `dvc exp run -S`."""
    return re.sub(r'"(\w+)": ', rf"\1{between}", json.dumps(value, ensure_ascii=False))


def changes(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """What `dvc exp run -S` takes to make `before` `after`: only what differs, key by key, because it merges tables."""
    for key in before:
        if key not in after:
            yield f"~{prefix}{key}"
    for key, value in after.items():
        if isinstance(value, Mapping) and isinstance(before.get(key), Mapping):
            yield from changes(before[key], value, f"{prefix}{key}.")
        elif key not in before or before[key] != value:
            yield f"++{prefix}{key}={literal(value, ':')}"


def environment(root: Path) -> dict[str, str]:
    """For stages that run in a clone: MLflow's store and the files of weights stay those of the project."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    scheme, separator, path = uri.partition(":///")
    if separator and scheme.startswith("sqlite"):
        uri = f"{scheme}:///{root / path}"  # an absolute path stays what it is
    elif ":" not in uri:
        uri = str(root / uri)
    return QUIET | {
        "MLFLOW_TRACKING_URI": uri,
        "LINNET_MLFLOW_ARTIFACTS": os.environ.get("LINNET_MLFLOW_ARTIFACTS") or str(root / "mlartifacts"),
        **{name: str(root / os.environ[name]) for name in WEIGHTS_VARIABLES if os.environ.get(name)},
    }


class Workspace:
    """A clone of the project in which experiments run, with the project's files as they were when it was made.

    `dvc exp run` in the project itself would rewrite files that somebody edits meanwhile. With --temp it would copy the
    data for every run, and a training that is stopped would lose its checkpoint. The clone shares DVC's cache with the
    project and hands every finished experiment back.
    """

    def __init__(self, project: Path, folder: Path, lock: int) -> None:
        """Make the clone or renew it. A run inherits the open file `lock`: it is held while one outlives its parent."""
        self._project, self._folder, self._lock = project, folder.resolve(), lock
        if "data.dvc:" in dvc(project, "status", "data.dvc"):  # `dvc repro` does so too
            log("data/ is not what data.dvc says; saving it with `dvc commit data.dvc`")
            dvc(project, "commit", "--quiet", "--force", "data.dvc")
        self._head = git(project, "rev-parse", "HEAD").strip()
        self._snapshot = git(project, "stash", "create").strip() or self._head  # a commit of the files as they are
        if not (self._folder / ".git" / "index").exists():
            shutil.rmtree(self._folder, ignore_errors=True)  # what a killed command left
            git(project, "clone", "--quiet", "--shared", "--no-checkout", str(project), str(self._folder))
        for key, fallback in (("user.name", "linnet sweep"), ("user.email", "sweep@localhost")):
            git(self._folder, "config", key, git(project, "config", "--default", fallback, "--get", key).strip())
        self._reset()
        if (local := project / ".dvc" / "config.local").is_file():
            shutil.copy(local, self._folder / ".dvc")
        dvc(self._folder, "cache", "dir", "--local", dvc(project, "cache", "dir").strip())

    def run(self, name: str, recipe: Recipe, *, log_file: Path, on_line: Callable[[str], None]) -> str:
        """Run `recipe` from preprocess to evaluate as the experiment `name`, and return its metrics.json.

        Raises:
            ExperimentError: a stage failed.
            KeyboardInterrupt: the run was stopped; repeated, it goes on from its checkpoint.
        """
        self._reset()
        path = Path("recipes") / f"{recipe.name}.toml"
        before = tomllib.loads((self._folder / path).read_text(encoding="utf-8"))
        arguments = ["--name", name, "--set-param", f"recipes=[{recipe.name}]"]
        for change in changes(before, recipe.model_dump(mode="json", by_alias=True)):
            arguments += ["--set-param", f"{path}:{change}"]
        self._execute([*arguments, f"evaluate@{recipe.name}"], log_file, on_line)
        (reference,) = (found for found in self._references() if found.endswith(f"/{name}"))
        made = parse_recipe(git(self._folder, "show", f"{reference}:{path}"), where=reference)
        assert made == recipe, f"{name} ran with another recipe than was meant; see {log_file}"
        return (self._folder / "build" / recipe.name / "report" / Report.metrics).read_text(encoding="utf-8")

    def hand_over(self) -> None:
        """Make the experiment that ran last one of the project's."""
        fetch = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head")
        names = (name for name in self._references() if not name.startswith("refs/exps/exec/"))
        git(self._project, *fetch, str(self._folder), *(f"+{name}:{name}" for name in names))

    def remove(self) -> None:
        """Give its space back; everything that matters is in the project."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _reset(self) -> None:
        """The project's files as they were at the start, and nothing that an earlier run left in git."""
        for reference in self._references():
            git(self._folder, "update-ref", "--no-deref", "-d", reference)
        git(self._folder, "stash", "clear")
        git(self._folder, "checkout", "--quiet", "--force", "--detach", self._head)
        git(self._folder, "clean", "--quiet", "--force", "-d")
        git(self._folder, "restore", f"--source={self._snapshot}", "--staged", "--worktree", ":/")

    def _references(self) -> list[str]:
        return git(self._folder, "for-each-ref", "--format=%(refname)", "refs/exps").split()

    def _execute(self, arguments: list[str], log_file: Path, on_line: Callable[[str], None]) -> None:
        paths = [str(self._folder / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
        more = {
            "PYTHONPATH": os.pathsep.join(paths),  # the code that the experiment records, no other
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with (
            log_file.open("w", encoding="utf-8") as file,
            subprocess.Popen(
                [sys.executable, "-m", "dvc", "exp", "run", *arguments],
                cwd=self._folder,
                env=os.environ | environment(self._project) | more,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C reaches it once, through us
                pass_fds=(self._lock,),
            ) as process,
        ):
            try:
                for line in process.stdout or ():
                    file.write(line)
                    file.flush()
                    on_line(line.strip())
                status = process.wait()
            except KeyboardInterrupt:
                file.write(_stop(process))
                raise
        if status:
            raise ExperimentError(failure_reason(log_file.read_text(encoding="utf-8"), status))


def failure_reason(output: str, status: int) -> str:
    """The reason in what a failed run printed: linnet's own sentence, or DVC's."""
    for start in ("linnet: ", "ERROR: "):
        if found := [line for line in output.splitlines() if line.startswith(start)]:
            return redact_credentials(found[-1].removeprefix(start))
    return f"exit status {status}"


def _stop(process: subprocess.Popen[str]) -> str:
    """Let the stage write its checkpoint; a second Ctrl-C, or no end for long, ends it at once. Its last output."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    try:
        return process.communicate(timeout=STOPPING_SECONDS)[0]
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGKILL)
        return "killed\n"
