"""The project that a sweep belongs to: its DVC experiments, their metrics, and the state of its working tree."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import linnet
from linnet.artifacts import Report
from linnet.errors import first_line
from linnet.progress import log
from linnet.tasks.environment import WEIGHTS_VARIABLES
from pipelines.sweeping.sweep_file import SweepError

TRACKED = ("src", "recipes", "dvc.yaml", "params.yaml", "data.dvc")  # what an experiment is made of
QUIET = {"DVC_NO_ANALYTICS": "1", "GIT_PYTHON_REFRESH": "quiet", "DVC_EXP_AUTO_PUSH": "false"}


def command(folder: Path, *arguments: str, given: str | None = None) -> str:
    """Run a program in `folder` and return what it printed. Raises SweepError with what it complained about."""
    done = subprocess.run(
        arguments, cwd=folder, env=os.environ | QUIET, input=given, capture_output=True, text=True, check=False
    )
    if done.returncode:
        name = " ".join(part for part in arguments if part not in (sys.executable, "-m"))[:80]
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise SweepError(f"`{name}` in {folder}: {said[-1]}")
    return done.stdout


def git(folder: Path, *arguments: str, given: str | None = None) -> str:
    """Run git in `folder`. Raises SweepError."""
    return command(folder, "git", *arguments, given=given)


def dvc(folder: Path, *arguments: str) -> str:
    """Run DVC in `folder`. Raises SweepError."""
    return command(folder, sys.executable, "-m", "dvc", *arguments)


class Project:
    """The checkout in `root`, in which the command was started."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        if find_spec("dvc") is None:
            raise SweepError("DVC is not installed: install linnet with its extra 'dvc' (`make setup` does)")
        if not (self.root / ".dvc").is_dir() or not (self.root / "dvc.yaml").is_file():
            raise SweepError(f"{self.root} is no folder with dvc.yaml and .dvc/; run this in the project's own folder")
        git(self.root, "rev-parse", "HEAD")
        if Path(linnet.__file__).resolve().parent != self.root / "src" / "linnet":
            raise SweepError(
                f"linnet would be imported from {Path(linnet.__file__).parent}, not from this project's src/; run "
                "`make sweep` here"
            )

    def check_all_is_tracked(self) -> None:
        """An experiment is made of what git knows. Raises SweepError naming files that it does not."""
        if unknown := git(self.root, "ls-files", "--others", "--exclude-standard", "--", *TRACKED).split("\n")[:-1]:
            more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
            raise SweepError(
                f"git does not know {', '.join(unknown[:3])}{more}: an experiment would run without; `git add` what "
                "belongs to it, and repeat"
            )

    def save_data(self) -> None:
        """Bring data/ into DVC's cache, from which every experiment takes it; `dvc repro` does so too."""
        if json.loads(dvc(self.root, "status", "--json", "data.dvc")):
            log("sweep: data/ is not what data.dvc says; saving it with `dvc commit data.dvc`")
            dvc(self.root, "commit", "--quiet", "--force", "data.dvc")

    def experiments(self) -> dict[str, str]:
        """The newest commit of each experiment by name, whichever commit it started from."""
        lines = git(
            self.root, "for-each-ref", "--sort=creatordate", "--format=%(refname) %(objectname)", "refs/exps"
        ).splitlines()
        found = (line.split(" ") for line in lines)
        return {name.split("/")[-1]: commit for name, commit in found if not name.startswith("refs/exps/exec/")}

    def metrics_of(self, commit: str, recipe: str) -> str | None:
        """The text of an experiment's metrics.json; None where neither the cache nor a remote has it any more."""
        import dvc.api
        from dvc.exceptions import DvcException

        path = f"build/{recipe}/report/{Report.metrics}"
        try:
            return str(dvc.api.read(path, repo=str(self.root), rev=commit))
        except (DvcException, OSError) as reason:
            log(f"sweep: an experiment's {path} cannot be read ({first_line(reason)}); it runs again")
            return None

    def environment(self) -> Mapping[str, str]:
        """For stages that run elsewhere: MLflow's store and the files of weights stay those of this folder."""
        uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
        weights = {name: os.environ[name] for name in WEIGHTS_VARIABLES if os.environ.get(name)}
        return QUIET | {
            "MLFLOW_TRACKING_URI": self._absolute(uri),
            "LINNET_MLFLOW_ARTIFACTS": os.environ.get("LINNET_MLFLOW_ARTIFACTS") or str(self.root / "mlartifacts"),
            **{name: str(self.root / path) for name, path in weights.items()},
        }

    def _absolute(self, uri: str) -> str:
        scheme, separator, path = uri.partition(":///")
        if separator and scheme.startswith("sqlite"):
            return f"{scheme}:///{self.root / path}"  # an absolute path stays what it is
        return uri if ":" in uri else str(self.root / uri)
