"""The model as MLflow stores and serves it: a pyfunc from code, with linnet's own source beside the weights."""

import secrets
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, assert_never

import linnet
from linnet.artifacts import Model, Report
from linnet.files import read_json, write_text
from linnet.recipe import Audio, ClassLabel, HuggingFaceTextEncoder, MultiLabel, Recipe, Text, Unconditional
from linnet.tracking.client import RUN_KEY, connect
from linnet.tracking.outages import create_once, waited

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature

ATTEMPT = "linnet.attempt"  # the tag that says who made it, so that one whose answer was lost is found again
REQUIREMENTS = (
    *("torch", "numpy", "pandas", "pillow", "pydantic", "tomlkit", "safetensors", "rich", "jinja2", "mlflow"),
    *("pyarrow", "soundfile", "torchaudio", "torchmetrics"),
)


def log_model(recipe: Recipe, run_id: str, key: str, *, model: Path, report: Path) -> tuple[str, str]:
    """Log the pyfunc in its training's run; (address, id) of what MLflow calls a logged model.

    One that is whole already is found again by `key`, the input hash of its registration.
    """
    logged = _find(run_id, RUN_KEY, key)
    if logged is None or logged.status != "READY":  # another may be on its way by another process: let it be
        logged = _new_logged_model(run_id, key)
        waited(lambda: _upload(recipe, run_id, logged.model_id, model=model, report=report))  # S3 may be away too
    return f"models:/{logged.model_id}", str(logged.model_id)


def _find(run_id: str, tag: str, value: str) -> "LoggedModel | None":
    """The logged model of this run that has a tag; one that is whole, if there are several."""
    client = connect()
    experiment = client.get_run(run_id).info.experiment_id
    query = f"source_run_id = '{run_id}' AND tags.`{tag}` = '{value}'"
    found = list(client.search_logged_models([experiment], query))
    return next((one for one in found if one.status == "READY"), found[0] if found else None)


def _new_logged_model(run_id: str, key: str) -> "LoggedModel":
    client, attempt = connect(), secrets.token_hex(8)
    run = client.get_run(run_id)
    tags = {RUN_KEY: key, ATTEMPT: attempt}

    def create() -> "LoggedModel":
        return client.create_logged_model(
            run.info.experiment_id, name="model", source_run_id=run_id, tags=tags, params=run.data.params
        )

    return create_once(lambda: _find(run_id, ATTEMPT, attempt), create)


def _upload(recipe: Recipe, run_id: str, model_id: str, *, model: Path, report: Path) -> None:
    import mlflow
    import pandas as pd

    signature, example = _signature(recipe, model)
    package = Path(linnet.__file__).parent
    with tempfile.TemporaryDirectory() as scratch, mlflow.start_run(run_id=run_id, log_system_metrics=False):
        whole, sample = Path(scratch) / "recipe.json", Path(scratch) / "sample.json"
        write_text(whole, recipe.model_dump_json(indent=2, by_alias=True) + "\n")
        write_text(sample, recipe.sample.model_dump_json(indent=2) + "\n")
        mlflow.pyfunc.log_model(
            name="model",
            model_id=model_id,
            python_model=str(package / "serving.py"),
            artifacts={
                "model": str(model),
                "metrics": str(report / Report.metrics),
                "recipe": str(whole),
                "sample": str(sample),
            },
            code_paths=[str(package)],
            signature=signature,
            input_example=pd.DataFrame([example]),
            pip_requirements=[f"{name}=={version(name)}" for name in _requirements(recipe)],
        )


def _requirements(recipe: Recipe) -> tuple[str, ...]:
    section = recipe.conditioning
    is_frozen = isinstance(section, Text) and isinstance(section.encoder, HuggingFaceTextEncoder)
    return (*REQUIREMENTS, "transformers") if is_frozen else REQUIREMENTS


def _example_class(model: Path) -> int:
    """The number of a class that the model was trained on, which it gives samples of."""
    statistics = read_json(model / Model.statistics, made_by="train")
    pairs = zip(statistics["class_numbers"], statistics["class_counts"], strict=True)
    return next(int(number) for number, count in pairs if count)


def _signature(recipe: Recipe, model: Path) -> "tuple[ModelSignature, dict[str, Any]]":
    """(what serving.py takes and gives, an example input)."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema, TensorSpec

    fields: dict[str, tuple[Literal["long", "double", "string"], Any]]  # by name: type and example
    fields = {"num_samples": ("long", 4), "seed": ("long", 0), "steps": ("long", 10)}
    conditions: list[tuple[Literal["long", "string"], str]]  # of the answer: type and name
    match recipe.conditioning:
        case Unconditional():
            conditions = []
        case ClassLabel():
            fields |= {"label": ("long", _example_class(model)), "guidance": ("double", 2.0)}
            conditions = [("long", "label"), ("string", "class_name")]
        case MultiLabel() | Text():
            fields |= {"prompt": ("string", ""), "guidance": ("double", 1.0)}
            conditions = [("string", "prompt")]
        case _:
            assert_never(recipe.conditioning)
    if is_audio := isinstance(recipe.data, Audio):
        fields["seconds"] = ("double", 1.0)
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(kind, name, required=name == "num_samples") for name, (kind, _) in fields.items()
    ]
    outputs: list[ColSpec | TensorSpec] = [ColSpec("long", name) for name in ("request", "number")]
    outputs += [ColSpec(kind, name) for kind, name in conditions]
    outputs.append(ColSpec("string", "flac" if is_audio else "png"))
    example = {name: value for name, (_, value) in fields.items()}
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs)), example
