"""TrainJobs that have ended and that nobody came back for."""

from linnet.launch.cluster import Cluster
from linnet.launch.job_state import ended_at
from linnet.launch.leases import age_seconds, fresh_holders
from linnet.launch.manifest import NAME_LABEL
from linnet.progress import log


def remove_ended(cluster: Cluster, *, older_than_seconds: float) -> set[str]:
    """Delete linnet's TrainJobs that ended longer ago and that no pipeline run needs; the names of those that stay.

    Raises:
        TrainJobError: the cluster refused it, or did not answer.
    """
    staying = set()
    for job in cluster.jobs(f"{NAME_LABEL}=linnet"):
        ended, name = ended_at(job), job["metadata"]["name"]
        is_old = ended is not None and age_seconds(ended) > older_than_seconds and not fresh_holders(job)
        if is_old and cluster.delete(job, if_unchanged=True):
            log(f"TrainJob {cluster.namespace}/{name}: ended on {ended}, removed")
        else:
            staying.add(name)
    return staying
