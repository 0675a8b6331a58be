"""close: whatever happened, the run in MLflow says how it ended."""

from kfp import dsl
from kfp.dsl import PipelineTaskFinalStatus

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def close(status: PipelineTaskFinalStatus) -> None:
    """Give the MLflow runs of this pipeline run their final state.

    Args:
        status: How the tasks before it ended; KFP fills it in.
    """
    from linnet import tasks

    tasks.close(status.state, status.error_message)
