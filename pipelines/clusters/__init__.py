"""What the tasks request from a cluster: a profile (TOML) for each kind of cluster, and how it becomes pod settings."""

from pipelines.clusters.profile import (
    DEFAULT_PROFILE,
    PROFILE_VARIABLE,
    Cluster,
    ClusterProfileError,
    PodSize,
    load_cluster,
)
from pipelines.clusters.tasks import configure_task, configure_training, set_training_env

__all__ = [
    "DEFAULT_PROFILE",
    "PROFILE_VARIABLE",
    "Cluster",
    "ClusterProfileError",
    "PodSize",
    "configure_task",
    "configure_training",
    "load_cluster",
    "set_training_env",
]
