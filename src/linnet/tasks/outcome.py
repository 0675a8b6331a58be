"""The page that a pipeline run shows at its top: how it ended, why, and where to look."""

import os
from collections.abc import Sequence

from linnet.tasks.notes import Notes
from linnet.tracking.address import display_uri
from linnet.tracking.states import SUCCEEDED, End

UI_VARIABLE = "LINNET_MLFLOW_UI"  # where a browser finds MLflow, which tasks reach by another name
NEXT_STEPS = (
    "**Retry** on the run's page repeats what failed and keeps the rest; a training goes on from its last checkpoint. "
    "**Clone run** begins anew, with other settings if you like."
)
PAGES = "Look at `data_page`, `samples_page`, `restorations_page` and `scores_page` of the tasks above."
UNREAD = "what the tasks said could not be read (LINNET_WORK does not answer): the log of the failed task has it"
UNSAID = "no task said why: its pod was lost, or the run was ended from outside"


def outcome_page(end: End, error: str, notes: Notes | None, runs: Sequence[str]) -> str:
    """Markdown for people.

    Args:
        end: how the run ended.
        error: what Kubeflow Pipelines says went wrong; mostly "".
        notes: what the tasks left; None where that could not be read.
        runs: ids of the MLflow runs that belong to it.
    """
    if end is SUCCEEDED:
        results = {} if notes is None else notes.results
        lines = ["\n\n".join(results.values()) or "# The run succeeded"]
        lines += ["", PAGES] if "gate" in results else []
    else:
        failures = {} if notes is None else notes.failures
        where = f" in {', '.join(failures)}" if failures else ""
        lines = [f"# The run ended as {end.tag}{where}", ""]
        lines += [f"- **{task}**: {sentence}" for task, sentence in failures.items()]
        if not failures:
            lines += [f"{end.happened} ({error or (UNREAD if notes is None else UNSAID)})"]
        lines += ["", NEXT_STEPS]
    return "\n".join([*lines, *_links(runs)]) + "\n"


def _links(runs: Sequence[str]) -> list[str]:
    """To the MLflow runs, where it is known how a browser gets there."""
    address = os.environ.get(UI_VARIABLE, "").rstrip("/")
    return [
        f"\n[MLflow run {run}]({address}/#/runs/{run})" if address else f"\nMLflow run `{run}` at {display_uri()}"
        for run in runs
    ]
