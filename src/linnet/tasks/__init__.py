"""The stages as a pipeline engine calls them: texts and paths in, facts for the engine's records out."""

from linnet.tasks.check import check
from linnet.tasks.stages import (
    close,
    collect,
    compare,
    evaluate,
    gate,
    ingest,
    preprocess,
    register,
    restore,
    sample,
    train,
)

__all__ = [
    "check",
    "close",
    "collect",
    "compare",
    "evaluate",
    "gate",
    "ingest",
    "preprocess",
    "register",
    "restore",
    "sample",
    "train",
]
