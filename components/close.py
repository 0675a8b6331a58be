"""close: whatever happened, the run in MLflow says how it ended, and the run's page says why."""

from kfp import dsl
from kfp.dsl import Markdown, Output, PipelineTaskFinalStatus

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def close(status: PipelineTaskFinalStatus, outcome: Output[Markdown]) -> None:
    """Give the MLflow runs of this pipeline run their final state, and say what became of it.

    Args:
        status: How the tasks before it ended; KFP fills it in.

    Returns:
        outcome: What failed and why, or the scores and the gate's decision.
    """
    from linnet import tasks

    tasks.close(status.state, status.error_message, page=outcome.path)
