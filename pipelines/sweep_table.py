"""The table of a sweep: what a few seeds say of each choice of settings, and what they do not."""

import math
import shlex
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.trial import TrialState
from scipy import stats

from linnet.files import write_text
from pipelines.sweep_file import Run, Sweep, describe, dvc_changes, label_of, overrides

STATUSES = ("measured", "failed", "missing")
Outcome = dict[str, Any]  # of a run: experiment, status, and its scores or the reason why there are none


def tabulate_runs(sweep: Sweep, runs: Sequence[Run], outcomes: Mapping[str, Outcome]) -> pd.DataFrame:
    """One line a run; what was not started yet has the status `missing`."""
    lines = []
    for run in {run.name: run for run in runs}.values():
        outcome: Outcome = {"status": "missing", "score": math.nan, "scores": {}, "noise": None, "measured_by": None}
        outcome |= {"reason": None} | outcomes.get(run.name, {})
        line = {"trial": run.name.rpartition("-seed")[0], "experiment": run.name, **run.params, "seed": run.seed}
        lines.append(line | outcome | outcome["scores"] | {f"{sweep.file.metric}_of_noise": outcome["noise"]})
    return pd.DataFrame(lines).drop(columns=["scores", "noise"], errors="ignore")


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Of each line, with a column a seed: mean, deviation (n - 1), and half of the mean's 95 % interval by Student's t.

    One score has no spread, and nothing is made up for it.
    """
    count, deviation = scores.count(axis=1), scores.std(axis=1)
    margin = stats.t.ppf(0.975, count - 1) * deviation / np.sqrt(count)
    return pd.DataFrame({"mean": scores.mean(axis=1), "deviation": deviation, "margin": margin})


def tabulate_trials(sweep: Sweep, runs: pd.DataFrame) -> pd.DataFrame:
    """One line a trial, the best mean first; those that lack runs after all others: their mean may be luck.

    `behind_best` is the difference to the first line, seed by seed: what is lucky for both cancels.
    """
    table = runs.groupby("trial", sort=False)[list(sweep.space)].first()
    scores = runs.pivot(index="trial", columns="seed", values="score").reindex(table.index)
    states = pd.crosstab(runs["trial"], runs["status"]).reindex(index=table.index, columns=STATUSES, fill_value=0)
    summary = summarise(scores)
    table = table.join(states).assign(
        mean=summary["mean"],
        deviation=summary["deviation"],
        low_95=summary["mean"] - summary["margin"],
        high_95=summary["mean"] + summary["margin"],
        lowest=scores.min(axis=1),
        highest=scores.max(axis=1),
        lacking=states["failed"] + states["missing"] > 0,
    )
    table = table.sort_values(["lacking", "mean"]).drop(columns="lacking")
    behind = summarise(scores.drop(index=table.index[0]) - scores.loc[table.index[0]])
    return table.assign(behind_best=behind["mean"], behind_best_margin_95=behind["margin"])


def for_people(sweep: Sweep, table: pd.DataFrame) -> pd.DataFrame:
    """The table as texts, with rounded numbers."""

    def cells(line: Any) -> dict[str, str]:
        total, several = line.measured + line.failed + line.missing, line.measured > 1
        spread = f" ± {line.deviation:.2g}" if several else " (one run: no spread)"
        margin = f" ± {line.behind_best_margin_95:.2g}" if line.behind_best_margin_95 >= 0 else ""
        return {
            "mean ± deviation": f"{line.mean:.4g}{spread}" if line.measured else "",
            "95 % of the mean": f"{line.low_95:.4g} to {line.high_95:.4g}" if several else "",
            "lowest to highest": f"{line.lowest:.4g} to {line.highest:.4g}" if several else "",
            "behind the best": "" if math.isnan(line.behind_best) else f"{line.behind_best:+.2g}{margin}",
            "seeds": f"{line.measured} of {total}" if total > line.measured else str(total),
        }

    numbers = table.drop(columns=list(sweep.space)).itertuples()
    return (
        table[list(sweep.space)].map(label_of).join(pd.DataFrame([cells(line) for line in numbers], index=table.index))
    )


def notes(sweep: Sweep, runs: pd.DataFrame, table: pd.DataFrame) -> Iterator[str]:
    """What has to be known to read the table, all failures, and the best settings as arguments to copy."""
    yield (
        f"{sweep.file.metric}: lower is better. ± is the standard deviation over seeds; intervals are 95 % by "
        "Student's t, those of the distance behind the best (±) from differences seed by seed."
    )
    others = int((table["measured"] > 0).sum()) - 1
    if others > 0:
        worse = int((table["behind_best"] > table["behind_best_margin_95"]).sum())
        rest = "" if worse == others else "; for the rest these seeds do not say"
        yield (
            f"Worse than the best with 95 % confidence: {worse} of {others}{rest}. The best of several is also the "
            "luckiest, which no interval here takes into account."
        )
    if runs["measured_by"].nunique() > 1:
        yield (
            "The rows were measured in different ways or against different examples, so their scores do not compare; "
            "runs.csv has what pure noise scores the same way."
        )
    if missing := table["missing"].sum():
        yield f"Runs that are still missing: {missing}. This command goes on with them; rows that lack runs stand last."
    names = list(sweep.space)
    for run in runs[runs["status"] == "failed"].to_dict("records"):
        yield f"failed: {run['experiment']} ({describe({name: run[name] for name in names})}): {run['reason']}"
    if table["measured"].iloc[0]:
        best = sweep.settings(table[names].to_dict("records")[0])  # type: ignore[arg-type]
        yield f"best settings for linnet: {' '.join(f'--set {shlex.quote(each)}' for each in overrides(best))}"
        changes = dvc_changes(sweep.recipe_path, best)
        yield f"best settings for dvc exp run: {' '.join(f'-S {shlex.quote(change)}' for change in changes)}"


def write_plots(sweep: Sweep, study: optuna.Study, out: Path) -> list[str]:
    """Optuna's plots of the finished trials, as PNG images; their names."""
    from optuna.visualization import matplotlib as plots

    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < 2:
        return []
    axes: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        axes["settings.png"] = plots.plot_slice(study, target_name=sweep.file.metric)
        axes["history.png"] = plots.plot_optimization_history(study, target_name=sweep.file.metric)
    for name, of_a_plot in axes.items():
        np.array(of_a_plot).flat[0].figure.savefig(out / name)
    return list(axes)


def write_results(sweep: Sweep, runs: pd.DataFrame, study: optuna.Study, out: Path) -> None:
    """table.md with Optuna's plots, table.csv and runs.csv."""
    table = tabulate_trials(sweep, runs)
    texts = for_people(sweep, table).to_markdown(index=False, disable_numparse=True)
    images = [f"![{name}]({name})" for name in write_plots(sweep, study, out)]
    title = f"# {sweep.name}: {sweep.file.metric} of {sweep.file.recipe}"
    write_text(out / "table.md", "\n\n".join([title, texts, *notes(sweep, runs, table), *images]) + "\n")
    write_text(out / "table.csv", table.to_csv(index=False))
    write_text(out / "runs.csv", runs[runs["status"] != "missing"].drop(columns=["trial", "score"]).to_csv(index=False))
