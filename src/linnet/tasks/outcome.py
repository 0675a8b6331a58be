"""The page that a pipeline run shows at its top: how it ended, why, and where to look."""

from collections.abc import Mapping, Sequence

from linnet.tracking.address import display_uri
from linnet.tracking.states import end_told

NEXT_STEPS = (
    "**Retry** on the run's page repeats what failed and keeps the rest; a training goes on from its last checkpoint. "
    "**Clone run** begins anew, with other settings if you like."
)
PAGES = "Look at `data_page`, `samples_page`, `restorations_page` and `scores_page` of the tasks above."


def outcome_page(
    state: str, error: str, failures: Mapping[str, str], results: Mapping[str, str], runs: Sequence[str]
) -> str:
    """Markdown for people.

    Args:
        state: how the run ended, in words of Kubeflow Pipelines.
        error: what Kubeflow Pipelines says went wrong; mostly "".
        failures: sentences of the tasks that failed, by their names.
        results: what tasks came to (Markdown), by their names.
        runs: ids of the MLflow runs that belong to it.
    """
    if failures:
        lines = [f"# The run failed in {', '.join(failures)}", ""]
        lines += [f"- **{task}**: {sentence}" for task, sentence in failures.items()]
        lines += ["", NEXT_STEPS]
    elif results:
        lines = ["\n\n".join(results.values()), "", PAGES]
    else:
        end = end_told(state)
        why = error if end.has_error and error else "no task said why: it was ended from outside, or a pod was lost"
        lines = [f"# The run ended as {end.tag}", "", f"{end.happened} ({why})"]
        lines += ["", NEXT_STEPS]
    if runs:
        lines += ["", *(f"MLflow run `{run}` at {display_uri()}" for run in runs)]
    return "\n".join(lines) + "\n"
