"""The page about restorations: held-out examples clean, degraded and restored, side by side."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.artifacts import Restored
from linnet.data.arrays import open_array
from linnet.recipe import Audio, DataSection, Recipe
from linnet.reports import html
from linnet.reports.previews import players

COLUMNS = ["clean", "observed", "baseline", "restored"]


def restorations_page(recipe: Recipe, restored: Path) -> str:
    """The page of the folder that restore made. Raises ArtifactError if the folder is not whole."""
    degradations = [
        {
            "name": degradation.name,
            "kind": degradation.kind,
            "examples": _previews(recipe.data, np.asarray(open_array(restored / degradation.name / Restored.examples))),
        }
        for degradation in recipe.restore.degradations
    ]
    return html.render("restored.html", title="Restorations", degradations=degradations)


def _previews(data: DataSection, examples: NDArray[Any]) -> list[Any]:
    """Decoded examples [N, 4, ...] for the template: images as one inline sheet, audio as lists of players."""
    if isinstance(data, Audio):
        return [players(data, example, COLUMNS) for example in examples]
    return [html.inline_grid(examples.reshape(-1, *examples.shape[2:]), columns=len(COLUMNS))]
