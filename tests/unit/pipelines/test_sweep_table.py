"""The table of a sweep: what a few seeds say, and what they do not."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState, create_trial

from pipelines.sweep import read_metrics
from pipelines.sweep_file import Run, Sweep
from pipelines.sweep_table import Outcome, for_people, summarise, tabulate_runs, tabulate_trials, write_results
from support.sweeps import START, sweep_of
from support.tiny import tiny_recipe, write_tiny_recipe

RECIPE = tiny_recipe()
KEY = "train.learning_rate"


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """In a working folder with the tiny recipe."""
    (tmp_path / "recipes").mkdir()
    write_tiny_recipe(tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    return sweep_of(START + f'[grid]\n"{KEY}" = [0.1, 0.2, 0.3]\n', tmp_path)


def test_mean_spread_and_interval() -> None:
    """Student's t is 12.706204736 for one degree of freedom, 4.302652729911275 for two."""
    found = summarise(pd.DataFrame([[1.0, 2.0, 6.0], [4.0, np.nan, np.nan], [0.5, 0.7, np.nan]]))
    assert found["mean"].tolist() == pytest.approx([3.0, 4.0, 0.6])
    assert found["deviation"].tolist() == pytest.approx([7**0.5, np.nan, 0.02**0.5], nan_ok=True)  # (4 + 1 + 9) / 2
    margins = [4.302652729911275 * (7 / 3) ** 0.5, np.nan, 12.706204736 * 0.1]
    assert found["margin"].tolist() == pytest.approx(margins, nan_ok=True)


def run_of(name: str, seed: int) -> Run:
    return Run(f"tiny-{name}-seed{seed}", {KEY: name}, seed, RECIPE)


def measured(name: str, seed: int, score: float, measured_by: str = "the same") -> tuple[Run, Outcome]:
    scores = {"frechet_thumbnail": score}
    outcome = {"status": "measured", "score": score, "noise": 2.0, "scores": scores, "measured_by": measured_by}
    return run_of(name, seed), {"experiment": run_of(name, seed).name, **outcome}


def failed(name: str, reason: str) -> tuple[Run, Outcome]:
    run = run_of(name, 0)
    return run, {"experiment": run.name, "status": "failed", "reason": reason}


def example(sweep: Sweep, *more: tuple[Run, Outcome]) -> pd.DataFrame:
    outcomes = [measured("0.1", 0, 0.5), measured("0.1", 1, 0.7), measured("0.2", 0, 0.4), measured("0.2", 1, 0.6)]
    runs = [run_of(name, seed) for name in ("0.1", "0.2", "0.3") for seed in (0, 1)]
    return tabulate_runs(
        sweep, runs, {run.name: outcome for run, outcome in [*outcomes, failed("0.3", "loss nan at step 2"), *more]}
    )


def test_rows_are_sorted_and_compared_with_the_best_seed_by_seed(sweep: Sweep) -> None:
    table = tabulate_trials(sweep, example(sweep))
    assert table[KEY].tolist() == ["0.2", "0.1", "0.3"]
    best, second, last = (line for _, line in table.iterrows())
    assert np.isnan(best["behind_best"])
    assert second["behind_best"] == pytest.approx(0.1)  # exactly 0.1 with either seed, although the runs overlap
    assert second["behind_best"] > second["behind_best_margin_95"]
    assert second["high_95"] - second["mean"] == pytest.approx(12.706204736 * 0.1)
    assert (last["measured"], last["failed"], last["missing"]) == (0, 1, 1)
    assert np.isnan(last["mean"])
    lucky = tabulate_trials(sweep, example(sweep, measured("0.3", 1, 0.1))).iloc[-1]
    assert (lucky[KEY], lucky["mean"]) == ("0.3", 0.1)  # the best mean, but of one run instead of two


TRIALS = {"0.1": 0.6, "0.2": 0.5}


def write(sweep: Sweep, runs: pd.DataFrame, out: Path, trials: dict[str, float] = TRIALS) -> dict[str, str]:
    study = optuna.create_study()
    for label, score in trials.items():
        params, space = {KEY: label}, dict(sweep.space)
        study.add_trial(create_trial(state=TrialState.COMPLETE, value=score, params=params, distributions=space))
    out.mkdir()
    write_results(sweep, runs, study, out)
    return {path.name: path.read_text(errors="replace") for path in out.iterdir()}


def test_the_table_says_what_failed_what_is_missing_and_what_one_run_cannot_say(sweep: Sweep, tmp_path: Path) -> None:
    files = write(sweep, example(sweep), tmp_path / "out")
    text = re.sub(" {2,}", " ", files["table.md"])
    assert {"settings.png", "history.png"} <= files.keys()
    assert "\n![history.png](history.png)\n" in text
    assert "| 0.2 | 0.5 ± 0.14 | -0.7706 to 1.771 | 0.4 to 0.6 | | 2 |" in text
    assert "| 0.1 | 0.6 ± 0.14 | -0.6706 to 1.871 | 0.5 to 0.7 | +0.1 ±" in text
    assert "| 0.3 | | | | | 0 of 2 |" in text
    assert "failed: tiny-0.3-seed0 (train.learning_rate = 0.3): loss nan at step 2" in text
    assert "Runs that are still missing: 1." in text
    assert "Worse than the best with 95 % confidence: 1 of 1." in text
    assert "do not compare" not in text
    assert "best settings for linnet: --set train.learning_rate=0.2\n" in text
    assert "best settings for dvc exp run: -S recipes/birds-tiny.toml:++train.learning_rate=0.2\n" in text
    lines = list(csv.DictReader(io.StringIO(files["table.csv"])))
    assert [float(line["mean"] or "nan") for line in lines] == pytest.approx([0.5, 0.6, np.nan], nan_ok=True)
    assert [line["failed"] for line in lines] == ["0", "0", "1"]
    runs = list(csv.DictReader(io.StringIO(files["runs.csv"])))
    assert [(run["experiment"], run["status"]) for run in runs][-1] == ("tiny-0.3-seed0", "failed")
    assert runs[-1]["reason"] == "loss nan at step 2"
    assert [run["frechet_thumbnail_of_noise"] for run in runs] == ["2.0"] * 4 + [""]
    one = tabulate_runs(sweep, [run_of("0.1", 0)], {"tiny-0.1-seed0": measured("0.1", 0, 0.5)[1]})
    assert for_people(sweep, tabulate_trials(sweep, one)).to_numpy().tolist() == [
        ["0.1", "0.5 (one run: no spread)", "", "", "", "1"]
    ]


def test_settings_of_one_recipe_share_its_runs(sweep: Sweep) -> None:
    """A search may propose 1 and 1.0: the second has the score of the first."""
    known = {run.name: outcome for run, outcome in (measured("1", 0, 0.5), measured("1", 1, 0.7))}
    again = [Run(run_of("1", seed).name, {KEY: "1.0"}, seed, RECIPE) for seed in (0, 1)]
    table = tabulate_trials(sweep, tabulate_runs(sweep, [*(run_of("1", seed) for seed in (0, 1)), *again], known))
    assert table[["measured", "missing"]].to_numpy().tolist() == [[2, 0]]
    assert table["mean"].tolist() == pytest.approx([0.6])


def test_scores_by_other_examples_are_not_compared_in_silence(sweep: Sweep, tmp_path: Path) -> None:
    runs = example(sweep, measured("0.3", 1, 0.1, measured_by="64 pixels"))
    assert "their scores do not compare" in write(sweep, runs, tmp_path / "out")["table.md"]


def test_without_a_score_there_is_a_table_and_no_plot(sweep: Sweep, tmp_path: Path) -> None:
    run, outcome = failed("0.3", "x")
    files = write(sweep, tabulate_runs(sweep, [run], {run.name: outcome}), tmp_path / "out", trials={})
    assert sorted(files) == ["runs.csv", "table.csv", "table.md"]
    assert "| 0.3 | | | | | 0 of 1 |" in re.sub(" {2,}", " ", files["table.md"])


def test_a_score_that_is_no_number_is_a_failure() -> None:
    metrics: dict[str, Any] = {
        "scores": {"fid": float("inf"), "kid": 1.5},
        "context": {"kid": {"noise": 3.0}},
        "protocols": {"kid": "p"},
        "reference": {"data_hash": "0123456789"},
    }
    found = [read_metrics("x", metric, json.dumps(metrics)) for metric in ("fid", "kid", "fad")]
    scores = ': {"fid": Infinity, "kid": 1.5}'
    assert found == [
        {"experiment": "x", "status": "failed", "reason": f"metrics.json has no finite number as fid{scores}"},
        {
            "experiment": "x",
            "status": "measured",
            "score": 1.5,
            "noise": 3.0,
            "scores": metrics["scores"],
            "measured_by": "p, data 01234567",
        },
        {"experiment": "x", "status": "failed", "reason": f"metrics.json has no finite number as fad{scores}"},
    ]
