"""Sweeps that run: a search that is stopped, and a whole sweep on the tiny recipe, stopped, continued, remembered."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
import yaml

from linnet.files import ArtifactError, folder_lock
from pipelines.sweep import (
    Params,
    Sweep,
    SweepError,
    check_recipes,
    known_outcomes,
    open_study,
    run_trials,
    whole_trials,
)
from support.sweeps import GRID, RATE, SPACE, START, sweep_of
from support.tiny import ROOT, tiny_raw_data, write_tiny_recipe


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the tiny recipe."""
    (tmp_path / "recipes").mkdir()
    write_tiny_recipe(tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Score:
    """A known function of the settings; counts, and stops at one call as Ctrl-C would."""

    def __init__(self, sweep: Sweep, stop_at: int | None = None) -> None:
        self.seen: list[str] = []
        self._sweep, self._stop_at = sweep, stop_at

    def __call__(self, params: Params, seed: int) -> float:
        if len(self.seen) == self._stop_at:
            raise KeyboardInterrupt
        self.seen.append(f"{self._sweep.overrides(params)} {seed}")
        rate = float(params["train.learning_rate"])
        return (rate - 0.003) ** 2 + 1e-6 * len(params["model.widths"]) + 1e-7 * seed


@pytest.fixture
def searching(project: Path) -> Sweep:
    return sweep_of(START + SPACE + RATE + '"model.widths" = { choices = [[16, 32], [16, 16]] }\n', project)


def test_a_search_that_is_stopped_goes_on_as_if_it_had_not_been(searching: Sweep, tmp_path: Path) -> None:
    sweep, first, second = searching, f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db"
    assert sweep.file.search is not None
    undisturbed, stopped, rest = Score(sweep), Score(sweep, stop_at=10), Score(sweep)
    run_trials(sweep, open_study(sweep, first, "x"), undisturbed)
    with pytest.raises(KeyboardInterrupt):
        run_trials(sweep, open_study(sweep, second, "x"), stopped)
    assert len(whole_trials(sweep, open_study(sweep, second, "x"))) == 6
    run_trials(sweep, open_study(sweep, second, "x"), rest)
    assert len(undisturbed.seen) == len(set(undisturbed.seen)) == 2 * sweep.file.search.trials
    assert stopped.seen + rest.seen == undisturbed.seen
    run_trials(sweep, open_study(sweep, second, "x"), Score(sweep, stop_at=0))  # nothing is left to do
    again = Score(sweep)
    run_trials(sweep, open_study(sweep, second, "other data"), again)
    assert again.seen == undisturbed.seen
    best = open_study(sweep, first, "x").best_trial
    assert best.value == pytest.approx(min((t.value or 1) for t in open_study(sweep, second, "x").trials))


def test_a_trial_without_a_score_stays_open_and_is_tried_again(searching: Sweep, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/a.db"
    tried: list[str] = []

    def fails(params: Params, seed: int) -> None:
        tried.append(f"{searching.overrides(params)} {seed}")

    run_trials(searching, open_study(searching, storage, "x"), fails)
    assert len(tried) == 16
    again = Score(searching)
    run_trials(searching, open_study(searching, storage, "x"), again)
    assert sorted(again.seen) == sorted(tried)


def test_a_grid_is_seen_whole_by_the_first_seed_and_grows(project: Path) -> None:
    sweep = sweep_of(START + GRID + '"model.widths" = [[16, 32], [16, 16]]\n', project)
    study, score = open_study(sweep, None, "x"), Score(sweep)
    run_trials(sweep, study, score)
    assert [line[-1] for line in score.seen] == ["0"] * 4 + ["1"] * 4
    assert [trial.params for trial in study.trials] == sweep.combinations()
    assert study.best_params["train.learning_rate"] == "0.002"


def test_what_a_study_remembers_is_forgotten_with_its_experiment(project: Path) -> None:
    sweep = sweep_of(START + GRID, project)
    storage = f"sqlite:///{project}/study.db"
    study = open_study(sweep, storage, "x")
    for name in ("tiny-1-seed0", "tiny-2-seed0"):
        study.set_user_attr(name, {"experiment": name, "score": 1.0})
    other = open_study(sweep, storage, "other code")
    other.set_user_attr("tiny-2-seed0", {"experiment": "tiny-2-seed0", "reason": "failed at first"})
    assert known_outcomes(storage, {"tiny-2-seed0"}) == {"tiny-2-seed0": {"experiment": "tiny-2-seed0", "score": 1.0}}
    assert known_outcomes(None, {"tiny-2-seed0"}) == {}


def test_what_is_searched_is_checked_at_its_ends(searching: Sweep, project: Path) -> None:
    check_recipes(searching)
    assert len(searching.combinations()) == 4
    bad = sweep_of(START + SPACE + '"train.ema_decay" = { low = 0.5, high = 1.5, log = false }\n', project)
    with pytest.raises(SweepError, match=r"ema_decay = 1\.5 in \[train\].*\n    where train.ema_decay = 1.5"):
        check_recipes(bad)


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    """Nor beside a run that outlives its killed parent: it holds the descriptor."""
    with folder_lock(tmp_path, what=tmp_path) as lock:
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], pass_fds=[lock], stdin=subprocess.PIPE
        )
    with pytest.raises(ArtifactError, match="another run is making it"), folder_lock(tmp_path, what=tmp_path):
        pass
    child.communicate()
    with folder_lock(tmp_path, what=tmp_path):
        pass


@pytest.fixture
def repository(tmp_path: Path, empty_mlflow_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project under git and DVC, by somebody whose git has no user name."""
    folder = tmp_path / "project"
    (folder / "recipes").mkdir(parents=True)
    write_tiny_recipe(folder / "recipes")
    for name in ("dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder)
    for name in ("src", "pipelines"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "params.yaml").write_text(yaml.safe_dump({"recipes": ["another"]}))
    (folder / "sweeps" / "search").mkdir(parents=True)
    (folder / "sweeps" / "tiny.toml").write_text(START + GRID)
    choices = '"train.learning_rate" = { choices = [0.001, 0.002] }\n'
    (folder / "sweeps" / "search" / "tiny.toml").write_text(START + SPACE.replace("8", "2") + choices)
    shutil.copy(empty_mlflow_database, folder / "mlflow.db")
    tiny_raw_data(folder / "data" / "birds")
    for name in ("MLFLOW_TRACKING_URI", "LINNET_MLFLOW_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder / "src"), str(folder)]))
    commit = ("-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "--quiet", "--message", "start")
    for command in (
        ("git", "init", "--quiet"),
        (sys.executable, "-m", "dvc", "init", "--quiet"),
        (sys.executable, "-m", "dvc", "add", "--quiet", "data"),
        ("git", "add", "."),
        ("git", *commit),
    ):
        subprocess.run(command, cwd=folder, check=True)
    return folder


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipelines.sweep", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str], status: int) -> str:
    with process:
        printed = process.communicate()[0]
    assert process.returncode == status, printed
    return printed


def experiments(folder: Path) -> list[str]:
    command = ["git", "for-each-ref", "--format=%(refname)", "refs/exps"]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.split()


def start_until(folder: Path, *, experiments_made: int) -> subprocess.Popen[str]:
    process = start(folder, "sweeps/tiny.toml")
    while len(experiments(folder)) < experiments_made:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    return process


def scores(folder: Path) -> Iterator[tuple[str, str, str]]:
    for line in csv.DictReader(io.StringIO((folder / "build/sweeps/tiny/runs.csv").read_text())):
        yield line["train.learning_rate"], line["seed"], line["frechet_thumbnail"]


@pytest.mark.e2e
def test_a_sweep_is_stopped_goes_on_and_is_remembered(repository: Path) -> None:
    unknown = repository / "src" / "linnet" / "models" / "new.py"
    unknown.write_text("")
    for arguments in ((), ("--dry-run",)):
        printed = finish(start(repository, "sweeps/tiny.toml", *arguments), status=2)
        assert "git does not know src/linnet/models/new.py: an experiment would run without" in printed
    unknown.unlink()
    printed = finish(start(repository, "sweeps/tiny.toml", "--dry-run"), status=0)
    assert "Runs that are still missing: 4." in printed
    assert not (repository / "build").exists()

    learning = repository / "src" / "linnet" / "errors.py"
    learning.write_text(learning.read_text() + "# an edit that is not committed\n")
    process = start_until(repository, experiments_made=1)
    for each in [*psutil.Process(process.pid).children(recursive=True), process]:  # as when the power fails
        each.send_signal(signal.SIGKILL)
    printed = finish(process, status=-signal.SIGKILL)
    assert "4 runs, 0 of them done already" in printed

    process = start_until(repository, experiments_made=2)
    process.send_signal(signal.SIGINT)
    printed = finish(process, status=130)
    assert "4 runs, 1 of them done already" in printed
    assert "repeat the command to go on" in printed

    printed = finish(start(repository, "sweeps/tiny.toml"), status=0)
    assert "4 runs, 2 of them done already" in printed
    assert "best settings for linnet: --set train.learning_rate=0.00" in printed
    made = experiments(repository)
    assert len(made) == 4
    found = sorted(scores(repository))
    assert [(rate, seed) for rate, seed, _ in found] == [(r, s) for r in ("0.001", "0.002") for s in "01"]
    assert len({score for _, _, score in found}) == 4, "seeds and rates change the result"
    assert not (repository / ".work" / "sweeps" / "tiny" / "workspace").exists()
    text = subprocess.run(
        ["git", "show", f"{made[0]}:src/linnet/errors.py"], cwd=repository, check=True, capture_output=True, text=True
    ).stdout
    assert text == learning.read_text(), "an experiment is made of the files as they were, committed or not"
    changed = subprocess.run(["git", "status", "--short"], cwd=repository, check=True, capture_output=True, text=True)
    assert changed.stdout == " M src/linnet/errors.py\n", "the project's own files stay as they are"

    show = [sys.executable, "-m", "dvc", "exp", "show", "--json"]
    shown = json.loads(subprocess.run(show, cwd=repository, check=True, capture_output=True, text=True).stdout)
    runs = {entry["name"]: entry["revs"][0]["data"] for entry in shown[1]["experiments"]}
    assert {name.rpartition("/")[2] for name in made} == set(runs)
    for data in runs.values():
        params = data["params"]["recipes/birds-tiny.toml"]["data"]
        score = data["metrics"]["build/birds-tiny/report/metrics.json"]["data"]["scores"]["frechet_thumbnail"]
        assert (str(params["train"]["learning_rate"]), str(params["train"]["seed"]), repr(score)) in found
        assert params["sample"]["seed"] == params["train"]["seed"]
        assert not data["outs"]["build/birds-tiny/registration"]["hash"], "a sweep registers nothing"

    subprocess.run(["git", "update-ref", "-d", made[0]], cwd=repository, check=True)
    printed = finish(start(repository, "sweeps/tiny.toml"), status=0)
    assert "4 runs, 3 of them done already" in printed
    assert sorted(scores(repository)) == found, "DVC's run cache gives the same bytes"

    printed = finish(start(repository, "sweeps/search/tiny.toml"), status=0)  # of the same name, so of the same runs
    assert ": train.learning_rate = " not in printed, "nothing was left to run"
    assert set(scores(repository)) <= set(found)
