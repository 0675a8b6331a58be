"""Compile the DAG: `python -m pipelines.compile` renews pipelines/compiled/training.yaml."""

from pathlib import Path

from kfp.compiler import Compiler

from pipelines.training import training_pipeline

COMPILED = Path(__file__).parent / "compiled" / "training.yaml"


def compile_pipeline(path: Path) -> None:
    """Write the DAG, and what it requests from Kubernetes as a second document, for the image in LINNET_IMAGE."""
    Compiler().compile(training_pipeline, str(path))


if __name__ == "__main__":
    compile_pipeline(COMPILED)
