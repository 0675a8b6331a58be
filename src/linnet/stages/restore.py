"""restore: held-out examples are degraded, and the trained model brings back what is missing."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linnet.artifacts import Dataset, Model, Restored, check_settings, input_hash, is_current, write_provenance
from linnet.data.arrays import open_array, write_array
from linnet.files import ArtifactError, new_folder
from linnet.inference.degradations import build_degradation
from linnet.inference.diffusion_model import DiffusionModel
from linnet.inference.memory import explains_examples_memory
from linnet.inference.restoration import Restoration, restore_examples
from linnet.modalities.base import Codec
from linnet.models.precision import resolve_precision
from linnet.progress import log
from linnet.recipe import Audio, Recipe
from linnet.stages.table import RESTORE

AUDIO_PREVIEWS = 3  # of each degradation; of images all


def run(recipe: Recipe, *, dataset: Path, model: Path, out: Path, device: torch.device, batch_size: int) -> None:
    """Try each degradation of `recipe.restore` on held-out examples of `dataset`, with the model as prior.

    Raises:
        ArtifactError: an input is missing, or they do not belong together.
    """
    section = recipe.restore
    trained = check_settings(model, made_by="train", section=recipe.training())
    inputs = {
        "dataset": Dataset.content_hash(dataset),
        "model": Model.content_hash(model),
        "precision": resolve_precision(section.precision, device),
    }
    if trained["inputs"]["dataset"] != inputs["dataset"]:
        raise ArtifactError(f"{model} was trained on other data than {dataset}; run `linnet train` again")
    if is_current(out, input_hash(RESTORE, [section], inputs)):
        log(f"{out}: already restored with this model and these settings")
        return
    diffusion_model = DiffusionModel.load(model, weights=section.weights, device=device)
    codec = diffusion_model.codec
    clean = _held_out(recipe, dataset, codec, device)
    num_previews = AUDIO_PREVIEWS if isinstance(recipe.data, Audio) else len(clean)
    num_draws = min(batch_size, section.num_draws * len(clean))
    with new_folder(out) as folder, explains_examples_memory(diffusion_model, section.precision, num_draws):
        for degradation in section.degradations:
            process = build_degradation(degradation, codec, seed=section.seed, device=device)
            restoration = restore_examples(process, section, diffusion_model, clean, batch_size)
            _write(folder / degradation.name, restoration, _previews(codec, restoration, num_previews))
        write_provenance(folder, RESTORE, [section], inputs)
    log(f"{out}: {len(section.degradations)} degradations of {len(clean)} held-out examples")


def _held_out(recipe: Recipe, dataset: Path, codec: Codec, device: torch.device) -> Tensor:
    """Standardised examples of the test split, spread over it."""
    examples = open_array(dataset / Dataset.examples(recipe.data, "test"))
    rows = np.linspace(0, len(examples) - 1, min(recipe.restore.num_examples, len(examples))).astype(np.int64)
    return codec.encode(torch.from_numpy(np.array(examples[rows])).to(device))


def _previews(codec: Codec, restoration: Restoration, count: int) -> NDArray[np.generic]:
    """The first examples decoded, [count, 4, ...]: clean, observed, baseline, restored."""
    columns = (restoration.clean, restoration.observed, restoration.baseline, restoration.restored)
    return np.stack([codec.decode(codec.standardize(features[:count])) for features in columns], axis=1)


def _write(folder: Path, restoration: Restoration, previews: NDArray[np.generic]) -> None:
    folder.mkdir()
    for name, value in vars(restoration).items():
        write_array(folder / getattr(Restored, name), value.cpu().numpy())
    write_array(folder / Restored.examples, previews)
