"""What the tasks request from a cluster: a profile (TOML) for each kind of cluster, and how it becomes pod settings."""

from pipelines.clusters.profile import PROFILE_VARIABLE, Cluster, ClusterProfileError, PodSize, load_cluster
from pipelines.clusters.tasks import configure_task, pod_resources, set_trainjob_env

__all__ = [
    "PROFILE_VARIABLE",
    "Cluster",
    "ClusterProfileError",
    "PodSize",
    "configure_task",
    "load_cluster",
    "pod_resources",
    "set_trainjob_env",
]
