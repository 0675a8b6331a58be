"""The stages as a pipeline engine calls them: texts and paths in, facts for the engine's records out."""

from linnet.tasks.look import look
from linnet.tasks.stages import (
    close,
    evaluate,
    gate,
    ingest,
    preprocess,
    restore,
    sample,
    train,
)

__all__ = [
    "close",
    "evaluate",
    "gate",
    "ingest",
    "look",
    "preprocess",
    "restore",
    "sample",
    "train",
]
