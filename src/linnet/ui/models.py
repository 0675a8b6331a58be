"""Trained models to generate with: where they are found, and how they are loaded."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import torch
from pydantic import ValidationError

import linnet
from linnet.artifacts import Samples, read_provenance
from linnet.errors import LinnetError, first_line
from linnet.files import ArtifactError
from linnet.hashes import code_files, source_hash
from linnet.inference.diffusion_model import DiffusionModel, load_training_recipe
from linnet.modalities.statistics import Statistics
from linnet.recipe import DDIM, AsTrained, SampleSection, TrainingRecipe, section_hash
from linnet.registry.lock import is_lock
from linnet.registry.versions import CHALLENGER, CHAMPION
from linnet.stages.table import SAMPLE
from linnet.tracking.client import connect
from linnet.tracking.failures import server_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

WEIGHTS = "linnet.weights_sha256"  # the tag that register gives a version: its model's content hash
REQUESTS = "inference/requests.py"  # beside what decides a sample: what may be asked for
MAX_NAMES = 1000  # registered models looked at
DEFAULT_STEPS = 50  # where nobody has written down how the model is to be sampled


class ArgumentsError(LinnetError):
    """The page was started with arguments that it does not know."""


@dataclass(frozen=True)
class Built:
    """A model folder that train has made: BUILD/<recipe>/model."""

    folder: Path

    @property
    def title(self) -> str:
        """For people."""
        return self.folder.parent.name


@dataclass(frozen=True)
class Registered:
    """A version of a registered model that carries an alias."""

    name: str
    version: int
    alias: str
    content_hash: str

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.name}@{self.alias} v{self.version}"


Choice = Built | Registered


@dataclass(frozen=True)
class TrainedModel:
    """A loaded model, and how its recipe samples from it."""

    title: str
    key: str  # equal for equal models
    diffusion_model: DiffusionModel
    section: SampleSection
    note: str  # what people should know about its settings; "" for nothing

    @property
    def statistics(self) -> Statistics:
        """What preprocess found in its training data."""
        return self.diffusion_model.statistics


def build_folder(arguments: Sequence[str]) -> Path:
    """Where `linnet` leaves its results: `--build FOLDER`, else LINNET_BUILD, else ./build.

    Raises:
        ArgumentsError: the arguments say something else.
    """
    match arguments:
        case []:
            return Path(os.environ.get("LINNET_BUILD") or "build")
        case ["--build", folder]:
            return Path(folder)
        case _:
            raise ArgumentsError(f"{' '.join(arguments)}: the page takes `--build FOLDER` and nothing else")


def built_models(build: Path) -> list[Built]:
    """The model folders below `build`, by name."""
    return [Built(folder) for folder in sorted(build.glob("*/model")) if folder.is_dir()]


def is_registry_configured() -> bool:
    """Whether there is a registry to ask; looking for one must not make an empty one in the working folder."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or Path("mlflow.db").exists()


def registered_models() -> list[Registered]:
    """The champions and challengers of this project's models; a version that is both is listed as champion.

    Raises:
        TrackingError: the registry does not answer.
    """
    with server_errors():
        client = connect()
        names = [one.name for one in client.search_registered_models(max_results=MAX_NAMES) if not is_lock(one.name)]
        return [found for name in sorted(names) for found in _with_alias(client, name)]


def _with_alias(client: "MlflowClient", name: str) -> Iterator[Registered]:
    aliases = client.get_registered_model(name).aliases
    seen: set[int] = set()
    for alias in (CHAMPION, CHALLENGER):
        if alias in aliases and int(aliases[alias]) not in seen:
            entry = client.get_model_version(name, aliases[alias])
            seen.add(int(entry.version))
            if WEIGHTS in entry.tags:  # else it is not ours
                yield Registered(name, int(entry.version), alias, entry.tags[WEIGHTS])


def model_key(choice: Choice) -> str:
    """Equal for equal weights and settings, without reading the weights.

    Raises:
        ArtifactError: there is no whole model.
    """
    match choice:
        case Built(folder):
            content = read_provenance(folder, made_by="train")["content_hash"]
            section, _ = _section_of(folder)
            return f"{content}-{section_hash(section)}"
        case Registered():
            return f"{choice.content_hash}-{choice.name}-{choice.version}"
        case _:
            assert_never(choice)


def load_model(choice: Choice, device: torch.device) -> TrainedModel:
    """The model, ready to sample from. A registered one is downloaded for the moment, and runs with the code here.

    Raises:
        ArtifactError: it is incomplete, damaged, or of another version of linnet's code.
        TrackingError: the registry does not answer.
    """
    match choice:
        case Built(folder):
            section, note = _section_of(folder)
            return _load(choice, folder, section, note, device)
        case Registered():
            with tempfile.TemporaryDirectory() as scratch:
                try:
                    folder, sample = _download(choice, Path(scratch))
                    return _load(choice, folder, _read_section(sample), "", device)
                except ArtifactError as reason:  # of a folder that nobody will find
                    raise ArtifactError(str(reason).replace(scratch, choice.title)) from None
        case _:
            assert_never(choice)


def _load(choice: Choice, folder: Path, section: SampleSection, note: str, device: torch.device) -> TrainedModel:
    diffusion_model = DiffusionModel.load(folder, weights=section.weights, device=device)
    return TrainedModel(choice.title, model_key(choice), diffusion_model, section, note)


def _download(choice: Registered, scratch: Path) -> tuple[Path, Path]:
    """(model folder, file with the sample section) of what register has stored."""
    from mlflow.artifacts import download_artifacts
    from mlflow.models import Model as StoredModel

    with server_errors():
        connect()
        uri = f"models:/{choice.name}/{choice.version}"
        stored = Path(download_artifacts(artifact_uri=uri, dst_path=str(scratch)))
        _refuse_other_code(choice, stored / "code" / "linnet")
        files = StoredModel.load(str(stored)).flavors["python_function"]["artifacts"]
    if missing := {"model", "sample"} - files.keys():
        raise ArtifactError(f"{stored} holds no {' and no '.join(sorted(missing))}; register the model again")
    return stored / files["model"]["path"], stored / files["sample"]["path"]


def _refuse_other_code(choice: Registered, stored: Path) -> None:
    """Raises ArtifactError if the code that samples is another here than where the version was registered.

    Comments, messages and everything that does not decide a sample may differ.
    """
    here = Path(linnet.__file__).parent
    different = [
        name
        for name in (*code_files(SAMPLE), REQUESTS)
        if not (stored / name).is_file() or source_hash(stored / name) != source_hash(here / name)
    ]
    if different:
        raise ArtifactError(
            f"{choice.title} was registered with other code than this linnet's (different: {', '.join(different[:3])}"
            f"{', ...' if len(different) > 3 else ''}): here it would not sample as it was scored. Load it by MLflow "
            "in a process of its own, which uses the code stored with it (docs/serving.md), or register it again"
        )


def _section_of(folder: Path) -> tuple[SampleSection, str]:
    """How a built model is sampled: as `linnet sample` did it, which has written it down; and a note if it has not."""
    written = folder.parent / "samples" / Samples.recipe
    if written.is_file():
        return _read_section(written), ""
    section = default_section(load_training_recipe(folder))
    note = (
        f"`linnet sample` has not run, so the recipe's sampler is not known here: {section.sampler.num_steps} steps of "
        f"{section.sampler.kind} are used, unless you change them."
    )
    return section, note


def _read_section(path: Path) -> SampleSection:
    try:
        return SampleSection.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as reason:
        cause = first_line(reason)
        if isinstance(reason, ValidationError):
            first = reason.errors()[0]
            cause = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise ArtifactError(
            f"{path}: cannot be used by this version of linnet ({cause}); run `linnet sample` again, and `linnet "
            "register` for a registered model"
        ) from None


def default_section(recipe: TrainingRecipe) -> SampleSection:
    """Settings that sample well from most models."""
    steps = min(DEFAULT_STEPS, recipe.diffusion.schedule.num_timesteps)
    return SampleSection(
        sampler=DDIM(kind="ddim", num_steps=steps, spacing="trailing", eta=0.0),
        num_samples=1,
        num_files=0,
        length=AsTrained(kind="as_trained"),
        seed=0,
        weights="ema",
        guidance_scale=1.0,
        clip_x0=True,
        precision="fp32",
    )
