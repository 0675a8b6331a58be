"""Compile the DAG for the cluster's profile and the image of the environment: LINNET_CLUSTER, LINNET_IMAGE."""

from pathlib import Path

from kfp.compiler import Compiler

from pipelines.training import training_pipeline


def compile_pipeline(path: Path) -> None:
    """Write the DAG to `path` (YAML), and what it requests from Kubernetes as a second document."""
    Compiler().compile(training_pipeline, str(path))
