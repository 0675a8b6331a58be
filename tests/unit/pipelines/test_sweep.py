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
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
import pytest
import yaml
from optuna.trial import TrialState

from linnet.files import ArtifactError, folder_lock
from pipelines.sweep import failure_reason, known_outcomes, open_study, run_trials, stage_environment
from pipelines.sweep_file import Params, Sweep, SweepError, check_recipes, overrides
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
    """A known function of the settings; counts, remembers, and stops at one call as Ctrl-C would."""

    def __init__(self, sweep: Sweep, stop_at: int | None = None, known: Iterable[str] = ()) -> None:
        self.seen: list[str] = []
        self._sweep, self._stop_at, self._known = sweep, stop_at, known

    def __call__(self, params: Params, seed: int) -> float:
        if len(self.seen) == self._stop_at:
            raise KeyboardInterrupt
        if (run := f"{overrides(self._sweep.settings(params))} {seed}") not in self._known:
            self.seen.append(run)
        rate = float(params["train.learning_rate"])
        return (rate - 0.003) ** 2 + 1e-6 * len(params["model.widths"]) + 1e-7 * seed


@pytest.fixture
def searching(project: Path) -> Sweep:
    return sweep_of(START + SPACE + RATE + '"model.widths" = { choices = [[16, 32], [16, 16]] }\n', project)


def test_a_search_that_is_stopped_goes_on_as_if_it_had_not_been(searching: Sweep, tmp_path: Path) -> None:
    sweep, first, second = searching, f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db"
    assert sweep.file.search is not None
    undisturbed, stopped = Score(sweep), Score(sweep, stop_at=10)
    run_trials(sweep, open_study(sweep, first, "x"), undisturbed)
    with pytest.raises(KeyboardInterrupt):
        run_trials(sweep, open_study(sweep, second, "x"), stopped)
    assert len(open_study(sweep, second, "x").trials) == 6
    rest = Score(sweep, known=stopped.seen)
    run_trials(sweep, open_study(sweep, second, "x"), rest)
    assert len(undisturbed.seen) == len(set(undisturbed.seen)) == 2 * sweep.file.search.trials
    assert stopped.seen + rest.seen == undisturbed.seen
    nothing_left = Score(sweep, known=undisturbed.seen)
    run_trials(sweep, open_study(sweep, second, "x"), nothing_left)
    assert nothing_left.seen == []
    again = Score(sweep)
    run_trials(sweep, open_study(sweep, second, "other data"), again)
    assert again.seen == undisturbed.seen
    best = open_study(sweep, first, "x").best_trial
    assert best.value == pytest.approx(min((t.value or 1) for t in open_study(sweep, second, "x").trials))


def test_a_trial_without_a_score_stays_open_and_is_tried_again(searching: Sweep, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/a.db"
    tried: list[str] = []

    def fails(params: Params, seed: int) -> None:
        tried.append(f"{overrides(searching.settings(params))} {seed}")

    run_trials(searching, open_study(searching, storage, "x"), fails)
    assert len(tried) == 16
    again = Score(searching)
    run_trials(searching, open_study(searching, storage, "x"), again)
    assert sorted(again.seen) == sorted(tried)
    assert {trial.state for trial in open_study(searching, storage, "x").trials} == {TrialState.COMPLETE}


def test_a_grid_is_seen_whole_by_the_first_seed_and_a_stop_loses_nothing(project: Path, tmp_path: Path) -> None:
    sweep = sweep_of(START + GRID + '"model.widths" = [[16, 32], [16, 16]]\n', project)
    storage, stopped, score = f"sqlite:///{tmp_path}/a.db", Score(sweep, stop_at=1), Score(sweep)
    with pytest.raises(KeyboardInterrupt):
        run_trials(sweep, open_study(sweep, storage, "x"), stopped)
    study = open_study(sweep, storage, "x")
    run_trials(sweep, study, score)
    assert [line[-1] for line in score.seen] == ["0"] * 4 + ["1"] * 4
    assert [trial.params for trial in study.trials] == sweep.combinations()
    assert study.best_params["train.learning_rate"] == "0.002"


def test_what_a_study_remembers_is_forgotten_with_its_experiment(project: Path) -> None:
    sweep = sweep_of(START + GRID, project)
    storage = f"sqlite:///{project}/study.db"
    study = open_study(sweep, storage, "x")
    known = {"experiment": "tiny-2-seed0", "status": "measured", "score": 1.0}
    study.set_user_attr("tiny-1-seed0", known | {"experiment": "tiny-1-seed0"})
    study.set_user_attr("tiny-2-seed0", known)
    other = open_study(sweep, storage, "other code")
    other.set_user_attr("tiny-2-seed0", {"experiment": "tiny-2-seed0", "status": "failed", "reason": "at first"})
    assert known_outcomes(storage, {"tiny-2-seed0"}) == {"tiny-2-seed0": known}
    assert known_outcomes(None, {"tiny-2-seed0"}) == {}


def test_what_is_searched_is_checked_at_its_ends(searching: Sweep, project: Path) -> None:
    check_recipes(searching)
    assert len(searching.combinations()) == 4
    bad = sweep_of(START + SPACE + '"train.ema_decay" = { low = 0.5, high = 1.5, log = false }\n', project)
    with pytest.raises(
        SweepError, match=r"ema_decay = 1\.5 in \[train\].*\n    in 1 of 2 combinations, such as train.ema_decay = 1.5"
    ):
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


def test_weights_and_the_database_stay_those_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages run in a clone, where a relative path leads nowhere."""
    monkeypatch.setenv("LINNET_INCEPTION_WEIGHTS", "weights/inception.pth")
    monkeypatch.setenv("LINNET_EMBEDDING_WEIGHTS", "/there/vggish.pth")
    monkeypatch.chdir(ROOT)
    found = stage_environment(ROOT)
    assert found["LINNET_INCEPTION_WEIGHTS"] == str(ROOT / "weights/inception.pth")
    assert found["LINNET_EMBEDDING_WEIGHTS"] == "/there/vggish.pth"
    monkeypatch.setenv("LINNET_INCEPTION_WEIGHTS", "")
    assert "LINNET_INCEPTION_WEIGHTS" not in stage_environment(ROOT)
    for given, expected in {
        "": f"sqlite:///{ROOT}/mlflow.db",
        "sqlite:///runs/mlflow.db": f"sqlite:///{ROOT}/runs/mlflow.db",
        "sqlite:////there/mlflow.db": "sqlite:////there/mlflow.db",
        "mlruns": f"{ROOT}/mlruns",
        "http://127.0.0.1:5000": "http://127.0.0.1:5000",
        "file:///there": "file:///there",
    }.items():
        monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
        assert stage_environment(ROOT)["MLFLOW_TRACKING_URI"] == expected


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("> linnet train\nlinnet: step 2: loss nan\nERROR: failed to reproduce\n", "step 2: loss nan"),
        ("WARNING: x\nERROR: failed to run: exited with -11\n", "failed to run: exited with -11"),
        ("Killed\n", "exit status 3"),
    ],
)
def test_the_reason_of_a_failure_is_linnets_own_sentence_where_there_is_one(message: str, reason: str) -> None:
    assert failure_reason(message, 3) == reason


STAGE = """stages:
  evaluate:
    matrix: { recipe: "${recipes}" }
    cmd: python src/known_scores.py recipes/${item.recipe}.toml build/${item.recipe}/report
    deps: [data, src/known_scores.py]
    params: [{ "recipes/${item.recipe}.toml": [train, sample] }]
    metrics: [{ "build/${item.recipe}/report/metrics.json": { persist: true } }]
"""
KNOWN_SCORES = """import json, pathlib, sys, time, tomllib
recipe = tomllib.loads(pathlib.Path(sys.argv[1]).read_text())
work, report = pathlib.Path(".work"), pathlib.Path(sys.argv[2])
rate, seed = recipe["train"]["learning_rate"], recipe["train"]["seed"]
assert recipe["sample"]["seed"] == seed
resumed = (work / "checkpoint").exists()
if seed == 1 and not resumed:
    work.mkdir(exist_ok=True)
    (work / "started").touch()
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        (work / "checkpoint").touch()
        sys.exit("linnet: stopped")
report.mkdir(parents=True, exist_ok=True)
scores = {"frechet_thumbnail": rate + seed, "resumed": int(resumed)}
by_name = dict(protocols={"frechet_thumbnail": "p"}, context={"frechet_thumbnail": {"noise": 9.0}})
text = json.dumps(dict(scores=scores, reference={"data_hash": "0123456789"}, **by_name))
(report / "metrics.json").write_text(text)
"""  # a stage that takes no time, and one run that does not end by itself


@pytest.fixture
def repository(tmp_path: Path, empty_mlflow_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project under git and DVC, by somebody whose git has no user name; its only stage has known scores."""
    folder = tmp_path / "project"
    for name in ("recipes", "sweeps"):
        (folder / name).mkdir(parents=True)
    write_tiny_recipe(folder / "recipes")
    for name in (".gitignore", ".dvcignore", "versions.toml"):
        shutil.copy(ROOT / name, folder)
    for name in ("src", "pipelines"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "dvc.yaml").write_text(STAGE)
    (folder / "src" / "known_scores.py").write_text(KNOWN_SCORES)
    (folder / "params.yaml").write_text(yaml.safe_dump({"recipes": ["another"]}))
    (folder / "sweeps" / "tiny.toml").write_text(START + GRID.replace(", 0.002", ""))
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
    command = [sys.executable, "-m", "pipelines.sweep", "sweeps/tiny.toml", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str], status: int) -> str:
    with process:
        printed = process.communicate()[0]
    assert process.returncode == status, printed
    return printed


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def experiments(folder: Path) -> list[str]:
    return git(folder, "for-each-ref", "--format=%(refname)", "refs/exps").split()


def start_until(folder: Path, condition: Callable[[], object]) -> subprocess.Popen[str]:
    process = start(folder)
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    return process


@pytest.mark.e2e
def test_a_sweep_is_stopped_goes_on_and_is_remembered(repository: Path) -> None:
    printed = finish(start(repository, "--dry-run"), status=0)
    assert "Runs that are still missing: 2." in printed
    assert not (repository / "build").exists()

    edited, new = repository / "src" / "linnet" / "errors.py", repository / "src" / "new.py"
    edited.write_text(edited.read_text() + "# an edit that is not committed\n")
    new.write_text("# a file that git does not know\n")
    process = start_until(repository, lambda: experiments(repository))
    for each in [*psutil.Process(process.pid).children(recursive=True), process]:  # as when the power fails
        each.send_signal(signal.SIGKILL)
    printed = finish(process, status=-signal.SIGKILL)
    assert "2 runs, 0 of them done already" in printed

    workspace = repository / ".work" / "sweeps" / "tiny" / "workspace"
    process = start_until(repository, (workspace / ".work" / "started").exists)
    process.send_signal(signal.SIGINT)
    printed = finish(process, status=130)
    assert "2 runs, 1 of them done already" in printed
    assert "Runs that are still missing: 1." in printed
    assert "repeat the command to go on" in printed

    printed = finish(start(repository), status=0)
    assert "2 runs, 1 of them done already" in printed
    assert "best settings for linnet: --set train.learning_rate=0.001\n" in printed
    runs = list(csv.DictReader(io.StringIO((repository / "build/sweeps/tiny/runs.csv").read_text())))
    keys = ("train.learning_rate", "seed", "frechet_thumbnail", "resumed")
    assert [[float(run[key]) for key in keys] for run in runs] == [
        [0.001, 0, 0.001, 0],
        [0.001, 1, 1.001, 1],  # from its checkpoint
    ]
    assert not workspace.exists()
    made = experiments(repository)
    assert [name.rpartition("/")[2] for name in made] == sorted(run["experiment"] for run in runs)
    for file in (edited, new):
        text = git(repository, "show", f"{made[0]}:{file.relative_to(repository)}")
        assert text == file.read_text(), "an experiment is made of the files as they were, committed or not"
    assert git(repository, "status", "--short") == " M src/linnet/errors.py\n?? src/new.py\n", "nothing else changed"
    show = [sys.executable, "-m", "dvc", "exp", "show", "--json"]
    found = json.loads(subprocess.run(show, cwd=repository, check=True, capture_output=True, text=True).stdout)
    metrics = {each["name"]: each["revs"][0]["data"]["metrics"] for each in found[1]["experiments"]}
    for run in runs:
        scores = metrics[run["experiment"]]["build/birds-tiny/report/metrics.json"]["data"]["scores"]
        assert repr(scores["frechet_thumbnail"]) == run["frechet_thumbnail"]

    git(repository, "update-ref", "-d", made[0])
    printed = finish(start(repository), status=0)
    assert "2 runs, 1 of them done already" in printed
    assert experiments(repository) == made
