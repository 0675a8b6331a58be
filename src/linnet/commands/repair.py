"""repair: a recording or image of one's own restored with the trained model as prior, at any length or size."""

from pathlib import Path

import torch

from linnet.files import new_folder, write_json
from linnet.inference.degradations import RestorationError, RestorationInput, build_degradation
from linnet.inference.diffusion_model import DiffusionModel
from linnet.inference.file_restoration import restore_file
from linnet.inference.memory import explains_examples_memory
from linnet.modalities.write import write_example
from linnet.progress import log
from linnet.recipe import DegradationSection, RestoreSection

RESULT = "repair.json"  # what was done, beside the restored file


def run(
    section: RestoreSection,
    degradation: DegradationSection,
    given: RestorationInput,
    *,
    model: Path,
    out: Path,
    device: torch.device,
) -> None:
    """Restore `given.file` with the model folder's prior into the folder `out`.

    Raises:
        RestorationError: the file, or what goes with it, does not fit the degradation or the model.
        ArtifactError: `model` is no whole model folder.
    """
    _check_out(out)
    given.check(degradation)
    diffusion_model = DiffusionModel.load(model, weights=section.weights, device=device)
    data = diffusion_model.recipe.data
    try:
        degradation.check_modality(data)
    except ValueError as reason:
        raise RestorationError(f"{model} is not for this degradation: {reason}") from None
    process = build_degradation(degradation, diffusion_model.codec, seed=section.seed, device=device)
    with explains_examples_memory(diffusion_model, section.precision, 1):
        restored, notes = restore_file(process, section, diffusion_model, given)
    with new_folder(out) as folder:
        name = write_example(folder / given.file.stem, restored, data)
        facts = {"file": str(given.file), "degradation": degradation.model_dump(mode="json"), "notes": notes}
        write_json(folder / RESULT, facts)
    for note in notes:
        log(f"{given.file}: {note}")
    log(f"{out / name}")


def _check_out(out: Path) -> None:
    """What lies at `out` is replaced: raises RestorationError where that would be somebody's own folder."""
    if out.exists() and not (out / RESULT).is_file():
        raise RestorationError(f"--out {out}: is there already, and was not made by linnet repair; give a new folder")
