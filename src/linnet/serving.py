"""The registered model: an MLflow pyfunc, from code, that generates images or audio.

MLflow runs this file when the model is loaded (`mlflow.pyfunc.load_model("models:/<name>@champion")`) or served
(`mlflow models serve`); register stores it together with linnet's own source. Each input row asks for samples:

    num_samples  how many
    seed         optional; equal seeds give equal samples
    steps        optional; sampling steps, the recipe's number if left out
    label        optional; the number of a class as its data set counts them, only for models with classes
    prompt       optional; words, or labels with commas between, only for models that take them
    guidance     optional; classifier-free guidance scale, only for conditional models
    seconds      optional; length, only for audio: longer than the training examples by overlapping windows

Each output row is one sample: request (row of the input), number, label and class_name (-1 and "": none) or prompt ("":
none) where the model has them, and png or flac (base64).
"""

import base64
import io
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel
from numpy.typing import NDArray

import linnet
from linnet.errors import LinnetError
from linnet.hashes import files_hash
from linnet.inference.batching import index_batches
from linnet.inference.diffusion_model import DiffusionModel, NoUnconditionalModeError
from linnet.inference.memory import explains_examples_memory
from linnet.inference.requests import GenerationError, GenerationRequest
from linnet.modalities.conditions import as_text
from linnet.modalities.prompts import find_class_number, parse_prompt
from linnet.modalities.statistics import ImageStatistics
from linnet.modalities.write import encode_example
from linnet.models.conditioning import Condition
from linnet.models.device import pick_device
from linnet.models.memory import BatchMemoryError
from linnet.recipe import Audio, ClassLabel, DataSection, SampleSection, Unconditional

MAX_SAMPLES = 4096
BATCH_SIZE = 64
NO_CLASS = -1  # the label of a sample that was not asked to be of any


class SampleModel(PythonModel):
    """Samples from a trained model folder."""

    def load_context(self, context: Any) -> None:
        """Load the weights once; called by MLflow. Raises MlflowException in a process that runs another linnet."""
        refuse_other_code(Path(__file__).parent / "code" / "linnet")
        model, sample = Path(context.artifacts["model"]), Path(context.artifacts["sample"])
        self._section = SampleSection.model_validate_json(sample.read_bytes())
        self._diffusion_model = DiffusionModel.load(model, weights=self._section.weights, device=pick_device("auto"))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One output row for each sample; see the module's docstring."""
        rows = [
            row
            for request, values in enumerate(model_input.to_dict("records"))
            for row in self._generate(request, {str(key): value for key, value in values.items() if not pd.isna(value)})
        ]
        return pd.DataFrame(rows, columns=output_columns(self._diffusion_model))

    def _generate(self, row: int, values: dict[str, Any]) -> list[dict[str, Any]]:
        model = self._diffusion_model
        count = int(values.get("num_samples", 1))
        if not 1 <= count <= MAX_SAMPLES:
            raise _refusal(f"num_samples = {count}: ask for 1 to {MAX_SAMPLES} samples a row")
        condition, condition_columns = self._condition(values)
        rows: list[list[Any]] = []
        try:
            plan = self._request(values, (condition,) * count).resolve(model.recipe, self._section)
            precision, at_once = plan.section.precision, min(count, BATCH_SIZE)
            with explains_examples_memory(model, precision, at_once, option="num_samples", frames=plan.length.frames):
                for indices in index_batches(count, BATCH_SIZE):
                    for index, example in zip(indices, plan.generate(model, indices), strict=True):
                        rows.append([row, index, *condition_columns, _as_base64(example, model.recipe.data)])
        except (GenerationError, NoUnconditionalModeError, BatchMemoryError) as reason:
            raise _refusal(str(reason)) from None
        return [dict(zip(output_columns(model), values, strict=True)) for values in rows]

    def _request(self, values: dict[str, Any], conditions: tuple[Condition, ...]) -> GenerationRequest:
        return GenerationRequest(
            conditions=conditions,
            seed=int(values.get("seed", self._section.seed)),
            num_steps=int(values["steps"]) if "steps" in values else None,
            guidance_scale=float(values["guidance"]) if "guidance" in values else None,
            duration_seconds=float(values["seconds"]) if "seconds" in values else None,
        )

    def _condition(self, values: dict[str, Any]) -> tuple[Condition, list[Any]]:
        """(the condition of all samples of a row, the columns that repeat it in the output)."""
        section, statistics = self._diffusion_model.recipe.conditioning, self._diffusion_model.statistics
        label, prompt = values.get("label"), values.get("prompt")
        match section:
            case ClassLabel():
                if prompt is not None:
                    raise _refusal("prompt: this model has classes; give a label")
                if label is None:
                    return None, [NO_CLASS, ""]
                assert isinstance(statistics, ImageStatistics), "only images have classes"
                try:
                    found = find_class_number(section, statistics, int(label))
                except LinnetError as reason:
                    raise _refusal(f"label = {int(label)}: {reason}") from None
                return found, [statistics.class_numbers[found], statistics.class_names[found]]
            case Unconditional():
                if label is not None or prompt is not None:
                    raise _refusal("this model knows no labels and takes no prompts")
                return None, []
            case _:
                if label is not None:
                    raise _refusal("label: this model takes a prompt, in words")
                try:
                    condition = parse_prompt(section, statistics, str(prompt)) if prompt else None
                    self._diffusion_model.encoder.encode([condition])
                except LinnetError as reason:
                    raise _refusal(str(reason)) from None
                return condition, [as_text(condition, statistics)]


def output_columns(diffusion_model: DiffusionModel) -> list[str]:
    """The columns of what `predict` returns, in order."""
    match diffusion_model.recipe.conditioning:
        case Unconditional():
            condition = []
        case ClassLabel():
            condition = ["label", "class_name"]
        case _:
            condition = ["prompt"]
    return ["request", "number", *condition, "flac" if isinstance(diffusion_model.recipe.data, Audio) else "png"]


def refuse_other_code(stored: Path) -> None:
    """Raises MlflowException if the linnet that runs in this process is not the one that was stored with the model.

    MLflow puts the stored one first on Python's path, but what is imported already stays: the linnet of a version that
    was loaded before, or of the folder one works in.
    """
    running = Path(linnet.__file__).parent
    if stored.is_dir() and _sources_hash(running) != _sources_hash(stored):
        raise MlflowException(
            f"this version of the model was registered with other code ({stored}) than the linnet that this process "
            f"has imported already ({running}), and would silently run with that; load it in a process of its own, "
            "before anything else imports linnet"
        )


def _sources_hash(package: Path) -> str:
    return files_hash(package, [path.relative_to(package).as_posix() for path in package.rglob("*.py")])


def _as_base64(example: NDArray[Any], data: DataSection) -> str:
    """A PNG or FLAC file."""
    stream = io.BytesIO()
    encode_example(stream, example, data)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _refusal(message: str) -> MlflowException:
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


set_model(SampleModel())
