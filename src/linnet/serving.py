"""The registered model: an MLflow pyfunc, from code, that draws pictures.

MLflow runs this file when the model is loaded (`mlflow.pyfunc.load_model("models:/<name>@champion")`) or served
(`mlflow models serve`); register stores it together with linnet's own source. Each input row asks for pictures:

    num_samples  how many
    seed         optional; equal seeds give equal pictures
    steps        optional; sampling steps, the recipe's number if left out
    label        optional; class index from 0, only for labelled models
    guidance     optional; classifier-free guidance scale, only for labelled models

Each output row is one picture: request (row of the input), number, label (-1: none), png (base64).
"""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel
from PIL import Image

from linnet.recipe import SampleSection
from linnet.stages.wiring import Painter, chunks, load_painter, num_classes, pick_device

MAX_SAMPLES = 4096
BATCH_SIZE = 64
OPTIONAL_INTEGERS = ("seed", "steps", "label")


class PictureModel(PythonModel):
    """Draws pictures from a trained model folder."""

    def load_context(self, context: Any) -> None:
        """Load the weights once; called by MLflow."""
        model, sample = Path(context.artifacts["model"]), Path(context.artifacts["sample"])
        self._section = SampleSection.model_validate_json(sample.read_bytes())
        self._painter = load_painter(model, weights=self._section.weights, device=pick_device("auto"))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One output row for each picture; see the module's docstring."""
        rows = [
            row
            for request, values in enumerate(model_input.to_dict("records"))
            for row in _draw(self._painter, self._section, request, {str(key): value for key, value in values.items()})
        ]
        return pd.DataFrame(rows, columns=["request", "number", "label", "png"])


def _draw(painter: Painter, section: SampleSection, request: int, values: dict[str, Any]) -> list[dict[str, Any]]:
    given = {key: value for key, value in values.items() if not pd.isna(value)}
    count = int(given.get("num_samples", 1))
    if not 1 <= count <= MAX_SAMPLES:
        raise _refusal(f"num_samples = {count}: ask for 1 to {MAX_SAMPLES} pictures a row")
    seed, steps, label = (int(given[key]) if key in given else None for key in OPTIONAL_INTEGERS)
    if seed is not None and seed < 0:
        raise _refusal(f"seed = {seed}: give 0 or more")
    timesteps = painter.recipe.diffusion.schedule.num_timesteps
    if steps is not None and not 1 <= steps <= timesteps:
        raise _refusal(f"steps = {steps}: give 1 to {timesteps}")
    classes = num_classes(painter.recipe)
    if label is not None and not 0 <= label < classes:
        raise _refusal(f"label = {label}: this model knows {f'labels 0 to {classes - 1}' if classes else 'no labels'}")
    guidance = float(given.get("guidance", 1.0 if label is None else section.guidance_scale))
    if guidance != 1 and label is None:
        raise _refusal(f"guidance = {guidance:g} needs a label to be guided to")
    if not (np.isfinite(guidance) and guidance >= 0):
        raise _refusal(f"guidance = {guidance:g}: give a number of 0 or more")
    sampler = section.sampler.model_copy(update={"num_steps": steps or section.sampler.num_steps})
    rows = []
    for numbers in chunks(count, BATCH_SIZE):
        x = painter.draw(
            sampler,
            seed=section.seed if seed is None else seed,
            numbers=numbers,
            labels=None if label is None else [label] * len(numbers),
            guidance_scale=guidance,
            clip_x0=section.clip_x0,
            precision=section.precision,
        )
        for number, picture in zip(numbers, painter.standardisation.decode(x), strict=True):
            png = _encode(picture)
            rows.append({"request": request, "number": number, "label": -1 if label is None else label, "png": png})
    return rows


def _encode(picture: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _refusal(message: str) -> MlflowException:
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


set_model(PictureModel())
