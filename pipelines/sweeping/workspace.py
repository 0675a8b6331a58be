"""Where a sweep's runs happen: a clone of the project that keeps what an interrupted run has done.

`dvc exp run` in the project itself would rewrite the files that somebody edits meanwhile. `--temp` and `--queue` make a
new folder for every run: they copy the data each time, and a training that is stopped loses its checkpoint. The clone
shares DVC's cache with the project, is made of one state of the code from the first run to the last, and hands every
finished experiment back.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from linnet.errors import redact_credentials
from linnet.recipe.load import parse_recipe
from pipelines.sweeping.points import Run
from pipelines.sweeping.project import Project, dvc, git
from pipelines.sweeping.settings import changes
from pipelines.sweeping.sweep_file import SweepError

STOPPING_SECONDS = 120.0  # for a checkpoint to be written


class RunFailed(SweepError):
    """One run did not reach its end."""


@contextmanager
def alone(folder: Path) -> Iterator[int]:
    """A lock on a sweep's folder; a run holds it too, so that one that outlives us is not disturbed.

    Raises:
        SweepError: somebody has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise SweepError(f"{folder}: this sweep is running already, or its last run is still ending; wait") from None
    try:
        yield lock
    finally:
        os.close(lock)


class Workspace:
    """The clone in `folder`, made or renewed."""

    def __init__(self, project: Project, folder: Path, lock: int) -> None:
        self._project, self._folder, self._lock = project, folder.resolve(), lock
        project.check_all_is_tracked()
        self._patch = git(project.root, "diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD")
        if not (self._folder / ".git").exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            git(self._folder, "init", "--quiet")
        git(self._folder, "fetch", "--quiet", "--no-tags", str(project.root), "HEAD")
        git(self._folder, "checkout", "--quiet", "--force", "--detach", "FETCH_HEAD")
        for key, otherwise in (("user.name", "linnet sweep"), ("user.email", "sweep@localhost")):
            git(self._folder, "config", key, _config(project.root, key) or otherwise)
        local = project.root / ".dvc" / "config.local"
        if local.is_file():
            shutil.copy(local, self._folder / ".dvc")
        dvc(self._folder, "cache", "dir", "--local", dvc(project.root, "cache", "dir").strip())

    def run(self, run: Run, *, log: Path, on_line: Callable[[str], None]) -> str:
        """Make `run` an experiment of the project and return its commit. What it prints goes into `log` too.

        Raises:
            RunFailed: a stage failed.
            KeyboardInterrupt: the run was stopped; repeated, it goes on from its checkpoint.
        """
        self._reset()
        path = Path("recipes") / f"{run.recipe.name}.toml"
        before = tomllib.loads((self._folder / path).read_text(encoding="utf-8"))
        after = run.recipe.model_dump(mode="json", by_alias=True)
        arguments = ["--name", run.name, "--set-param", f"recipes=[{run.recipe.name}]"]
        for change in changes(before, after):
            arguments += ["--set-param", f"{path}:{change}"]
        self._execute([*arguments, f"evaluate@{run.recipe.name}"], log, on_line)
        (reference,) = (name for name in self._references() if name.endswith(f"/{run.name}"))
        text = git(self._folder, "show", f"{reference}:{path}")
        if parse_recipe(text, where=reference) != run.recipe:
            raise AssertionError(f"{run.name} ran with another recipe than was meant; see {log}")
        fetch = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head")
        git(self._project.root, *fetch, str(self._folder), f"+{reference}:{reference}")
        return git(self._project.root, "rev-parse", reference).strip()

    def remove(self) -> None:
        """Give its space back; all that matters is in the project."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _reset(self) -> None:
        """The project's files as they were at the start, and nothing that an earlier run left in git."""
        for reference in self._references():
            git(self._folder, "update-ref", "--no-deref", "-d", reference)
        git(self._folder, "stash", "clear")
        git(self._folder, "reset", "--quiet", "--hard")
        git(self._folder, "clean", "--quiet", "--force", "-d")
        if self._patch:
            git(self._folder, "apply", "--index", "--whitespace=nowarn", given=self._patch)

    def _references(self) -> list[str]:
        return git(self._folder, "for-each-ref", "--format=%(refname)", "refs/exps").split()

    def _execute(self, arguments: list[str], log: Path, on_line: Callable[[str], None]) -> None:
        python_path = [str(self._folder / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | self._project.environment()
        environment["PYTHONPATH"] = os.pathsep.join(python_path)  # the code that the experiment records, no other
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        log.parent.mkdir(parents=True, exist_ok=True)
        with (
            log.open("w", encoding="utf-8") as file,
            subprocess.Popen(
                [sys.executable, "-m", "dvc", "exp", "run", *arguments],
                cwd=self._folder,
                env=environment,
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
            raise RunFailed(why(log.read_text(encoding="utf-8"), status))


def why(said: str, status: int) -> str:
    """The reason in what a failed run printed: linnet's own sentence, or DVC's."""
    lines = said.splitlines()
    for start in ("linnet: ", "ERROR: "):
        if found := [line for line in lines if line.startswith(start)]:
            return redact_credentials(found[-1].removeprefix(start))
    return f"exit status {status}"


def _stop(process: subprocess.Popen[str]) -> str:
    """Let the stage write its checkpoint; a second Ctrl-C, or no end for long, ends it at once. What it still said."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    try:
        return process.communicate(timeout=STOPPING_SECONDS)[0]
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGKILL)
        return "killed\n"


def _config(folder: Path, key: str) -> str:
    done = subprocess.run(["git", "config", key], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip()
