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
from typing import Any

import pytest
import yaml

from pipelines.sweeping import points, search
from pipelines.sweeping.points import Combination
from pipelines.sweeping.settings import toml_text
from pipelines.sweeping.sweep_file import Search, Sweep, SweepError
from pipelines.sweeping.workspace import alone, why
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

    def __init__(self, stop_at: int | None = None) -> None:
        self.seen: list[str] = []
        self._stop_at = stop_at

    def __call__(self, combination: Combination) -> float:
        if len(self.seen) == self._stop_at:
            raise KeyboardInterrupt
        self.seen.append(toml_text(dict(combination.settings)))
        rate = float(combination.settings["train.learning_rate"])
        return (rate - 0.003) ** 2 + 1e-6 * len(combination.settings["model.widths"])


@pytest.fixture
def searching(project: Path) -> tuple[Sweep, Search]:
    text = START + SPACE + RATE + '"model.widths" = { choices = [[16, 32], [16, 16]] }\n'
    sweep = sweep_of(text, project)
    assert isinstance(sweep.method, Search)
    return sweep, sweep.method


def test_a_search_that_is_stopped_goes_on_as_if_it_had_not_been(
    searching: tuple[Sweep, Search], tmp_path: Path
) -> None:
    sweep, method = searching
    undisturbed, stopped, rest = Score(), Score(stop_at=5), Score()
    search.run(sweep, method, database=tmp_path / "a.db", identity="x", score=undisturbed)
    with pytest.raises(KeyboardInterrupt):
        search.run(sweep, method, database=tmp_path / "b.db", identity="x", score=stopped)
    assert len(search.known(sweep, method, database=tmp_path / "b.db", identity="x")) == 6
    search.run(sweep, method, database=tmp_path / "b.db", identity="x", score=rest)
    assert len(undisturbed.seen) == len(set(undisturbed.seen)) == method.trials
    assert stopped.seen + rest.seen == undisturbed.seen
    search.run(sweep, method, database=tmp_path / "b.db", identity="x", score=Score(stop_at=0))  # nothing is left to do
    again = Score()
    search.run(sweep, method, database=tmp_path / "b.db", identity="other data", score=again)
    assert again.seen[0] == undisturbed.seen[0]
    assert len(again.seen) == method.trials


def test_a_trial_without_a_score_stays_open_and_is_tried_again(searching: tuple[Sweep, Search], tmp_path: Path) -> None:
    sweep, method = searching
    tried: list[Combination] = []
    arguments: dict[str, Any] = {"database": tmp_path / "a.db", "identity": "x"}
    search.run(sweep, method, **arguments, score=tried.append)
    assert len(tried) == method.trials
    again = Score()
    search.run(sweep, method, **arguments, score=again)
    assert again.seen == [toml_text(dict(combination.settings)) for combination in tried]


def test_what_is_searched_is_checked_at_its_ends(searching: tuple[Sweep, Search], project: Path) -> None:
    sweep, _ = searching
    points.check(sweep, points.all_combinations(sweep))
    assert len(points.all_combinations(sweep)) == 4
    bad = sweep_of(START + SPACE + '"train.ema_decay" = { low = 0.5, high = 1.5, log = false }\n', project)
    with pytest.raises(SweepError, match=r"ema_decay = 1\.5 in \[train\].*\n    where train.ema_decay = 1.5"):
        points.check(bad, points.all_combinations(bad))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("> linnet train\nlinnet: step 2: loss nan\nERROR: failed to reproduce\n", "step 2: loss nan"),
        ("WARNING: x\nERROR: failed to run: exited with -11\n", "failed to run: exited with -11"),
        ("Killed\n", "exit status 3"),
    ],
)
def test_the_reason_of_a_failure_is_linnets_own_sentence_where_there_is_one(said: str, reason: str) -> None:
    assert why(said, 3) == reason


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with alone(tmp_path / "x"), pytest.raises(SweepError, match="is running already"), alone(tmp_path / "x"):
        pass
    with alone(tmp_path / "x"):
        pass


@pytest.fixture
def repository(tmp_path: Path, empty_mlflow_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project under git and DVC, by somebody who has told git no name."""
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
        said = process.communicate()[0]
    assert process.returncode == status, said
    return said


def experiments(folder: Path) -> list[str]:
    command = ["git", "for-each-ref", "--format=%(refname)", "refs/exps"]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.split()


def scores(folder: Path) -> Iterator[tuple[str, str, str]]:
    for line in csv.DictReader(io.StringIO((folder / "build/sweeps/tiny/runs.csv").read_text())):
        yield line["train.learning_rate"], line["seed"], line["frechet_thumbnail"]


@pytest.mark.e2e
def test_a_sweep_is_stopped_goes_on_and_is_remembered(repository: Path) -> None:
    unknown = repository / "src" / "linnet" / "models" / "new.py"
    unknown.write_text("")
    for arguments in ((), ("--dry-run",)):
        said = finish(start(repository, "sweeps/tiny.toml", *arguments), status=2)
        assert "git does not know src/linnet/models/new.py: an experiment would run without" in said
    unknown.unlink()
    said = finish(start(repository, "sweeps/tiny.toml", "--dry-run"), status=0)
    assert "Runs that are still missing: 4." in said
    assert not (repository / "build").exists()

    learning = repository / "src" / "linnet" / "errors.py"
    learning.write_text(learning.read_text() + "# an edit that is not committed\n")
    process = start(repository, "sweeps/tiny.toml")
    while process.poll() is None and not experiments(repository):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = finish(process, status=130)
    assert "4 runs, 0 of them done already" in said
    assert "repeat the command to go on" in said
    assert 1 <= len(experiments(repository)) < 4

    said = finish(start(repository, "sweeps/tiny.toml"), status=0)
    assert "4 runs, 1 of them done already" in said
    assert "best settings for linnet: --set train.learning_rate=0.00" in said
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
        wanted = (toml_text(params["train"]["learning_rate"]), str(params["train"]["seed"]), repr(score))
        assert wanted in found
        assert params["sample"]["seed"] == params["train"]["seed"]
        assert not data["outs"]["build/birds-tiny/registration"]["hash"], "a sweep registers nothing"

    subprocess.run(["git", "update-ref", "-d", made[0]], cwd=repository, check=True)
    said = finish(start(repository, "sweeps/tiny.toml"), status=0)
    assert "4 runs, 3 of them done already" in said
    assert sorted(scores(repository)) == found, "DVC's run cache gives the same bytes"

    said = finish(start(repository, "sweeps/search/tiny.toml"), status=0)  # of the same name, so of the same runs
    assert ": train.learning_rate = " not in said, "nothing was left to run"
    assert set(scores(repository)) <= set(found)
