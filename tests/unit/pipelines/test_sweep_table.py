"""The table of a sweep: what a few seeds say, and what they do not."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from pipelines.sweeping import summary, table
from pipelines.sweeping.outcome import Failed, Measured, Outcome, read_metrics
from pipelines.sweeping.page import page
from pipelines.sweeping.points import Combination, Run
from support.sweeps import GRID, START, sweep_of
from support.tiny import tiny_recipe, write_tiny_recipe


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the tiny recipe."""
    (tmp_path / "recipes").mkdir()
    write_tiny_recipe(tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("freedom", [*range(1, 12), 30, 101])
def test_student_t_is_that_of_scipy(freedom: int) -> None:
    assert summary.student_t(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)


def test_mean_spread_and_interval() -> None:
    found = summary.summarise([1.0, 2.0, 6.0])
    assert (found.count, found.mean, found.lowest, found.highest) == (3, 3.0, 1.0, 6.0)
    assert found.deviation == pytest.approx(7**0.5)  # (4 + 1 + 9) / 2
    assert found.margin == pytest.approx(4.302652729911275 * (7 / 3) ** 0.5)
    assert summary.summarise([4.0]) == summary.Summary(1, 4.0, 4.0, 4.0, None, None)


def combination(name: str) -> Combination:
    return Combination({"train.learning_rate": name}, {"train.learning_rate": float(name)})


def run_of(name: str, seed: int) -> Run:
    return Run(f"tiny-{name}-seed{seed}", combination(name), seed, tiny_recipe())


def measured(name: str, seed: int, score: float, reference: str = "the same") -> Measured:
    return Measured(run_of(name, seed), score, 2.0, {"frechet_thumbnail": score}, reference)


def example_rows(*more: Outcome) -> list[summary.Row]:
    outcomes = [measured("0.1", 0, 0.5), measured("0.1", 1, 0.7), measured("0.2", 0, 0.4), measured("0.2", 1, 0.6)]
    failed = Failed(run_of("0.3", 0), "loss nan | step 2")
    groups = [[run_of(name, seed) for seed in (0, 1)] for name in ("0.1", "0.2", "0.3")]
    return summary.rows(groups, [*outcomes, failed, *more])


def test_rows_are_sorted_and_compared_with_the_best_seed_by_seed() -> None:
    best, second, last = example_rows()
    assert [row.combination.labels["train.learning_rate"] for row in (best, second, last)] == ["0.2", "0.1", "0.3"]
    assert best.behind is None
    assert second.behind is not None
    assert second.behind.mean == pytest.approx(
        0.1
    )  # exactly 0.1 with either seed: told apart although the runs overlap
    assert summary.is_told_apart(second)
    assert second.summary is not None
    assert second.summary.margin == pytest.approx(12.706204736 * 0.1)
    assert (last.summary, len(last.failed), last.missing) == (None, 1, 1)
    assert not summary.is_told_apart(last)
    lucky = example_rows(measured("0.3", 1, 0.1))[-1]
    assert lucky.summary is not None
    assert (lucky.summary.mean, lucky.lacking) == (0.1, True)  # best mean, but of one run instead of two


def test_the_table_says_what_failed_what_is_missing_and_what_one_run_cannot_say(project: Path) -> None:
    sweep = sweep_of(START + GRID, project)
    rows = example_rows()
    text = table.markdown(sweep, rows)
    assert "| 0.2 | 0.5 ± 0.14 | -0.7706 to 1.771 | 0.4 to 0.6 |  | 2 |" in text
    assert "| 0.3 |  |  |  |  | 0 of 2 |" in text
    assert "- `tiny-0.3-seed0` (train.learning_rate = 0.3): loss nan | step 2" in text
    assert "Runs that are still missing: 1." in text
    assert "Worse than the best with 95 % confidence: 1 of 1." in text
    assert "do not compare" not in text
    assert "Best settings for linnet: `--set train.learning_rate=0.2`\n" in text
    assert "Best settings for dvc exp run: `-S recipes/birds-tiny.toml:++train.learning_rate=0.2`\n" in text
    lines = list(csv.DictReader(io.StringIO(table.table_csv(sweep, rows))))
    assert [line["mean"] for line in lines] == ["0.5", "0.6", ""]
    assert [line["failed"] for line in lines] == ["0", "0", "1"]
    runs = list(csv.DictReader(io.StringIO(table.runs_csv(sweep, rows))))
    assert [(run["experiment"], run["status"]) for run in runs][-1] == ("tiny-0.3-seed0", "failed")
    assert runs[-1]["reason"] == "loss nan | step 2"
    one = table.markdown(sweep, summary.rows([[run_of("0.1", 0)]], [measured("0.1", 0, 0.5)]))
    assert "| 0.5 (one run: no spread) |  |  |  | 1 |" in one


def test_settings_of_one_recipe_share_its_runs() -> None:
    """A search may propose 1 and 1.0: the second has the score of the first, and its trial is not left open."""
    known = [measured("1", seed, score) for seed, score in ((0, 0.5), (1, 0.7))]
    proposed = [replace(outcome.run, combination=combination("1.0")) for outcome in known]
    (row,) = summary.rows([proposed], known)
    assert row.combination == combination("1.0")
    assert row.summary == summary.summarise([0.5, 0.7])
    assert not row.lacking


def test_scores_by_other_images_are_not_compared_in_silence(project: Path) -> None:
    sweep = sweep_of(START + GRID, project)
    rows = example_rows(measured("0.3", 1, 0.1, reference="64 pixels"))
    assert "their scores do not compare" in table.markdown(sweep, rows)


def test_the_page_is_self_contained_and_shows_every_run(project: Path) -> None:
    text = page(sweep_of(START + GRID, project), example_rows())
    assert text.count("<circle") == 4
    assert text.count('class="mean"') == 2
    assert "loss nan | step 2" in text
    assert "http" not in text


def test_a_score_that_is_no_number_is_a_failure() -> None:
    run = Run("x", combination("0.1"), 0, tiny_recipe())
    metrics: dict[str, Any] = {
        "scores": {"fid": float("inf"), "kid": 1.5},
        "context": {"kid": {"noise": 3.0}},
        "protocols": {"kid": "p"},
        "reference": {"data_hash": "0123456789"},
    }
    found = [read_metrics(run, metric, json.dumps(metrics)) for metric in ("fid", "kid", "fad")]
    assert found == [
        Failed(run, "fid is inf"),
        Measured(run, 1.5, 3.0, metrics["scores"], "p, data 01234567"),
        Failed(run, "metrics.json has no fad, only fid, kid"),
    ]
