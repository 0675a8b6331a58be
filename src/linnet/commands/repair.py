"""repair: a recording or image of one's own restored with the trained model as prior, at any length or size."""

import itertools
import json
from pathlib import Path
from typing import Any

import torch

from linnet.artifacts import Model
from linnet.files import new_folder, path_lock, write_json
from linnet.hashes import file_hash
from linnet.inference.degradations import RestorationError, RestorationInput, build_degradation
from linnet.inference.diffusion_model import DiffusionModel
from linnet.inference.file_restoration import restore_file
from linnet.inference.memory import explains_examples_memory
from linnet.modalities.write import write_example
from linnet.progress import log
from linnet.recipe import DegradationSection, RestoreSection
from linnet.recipe.restore import FILE_DEFAULTS

RESULT = "repair.json"  # what was done, beside the restored file
OF_EXAMPLES = {"degradations", "num_examples"}  # settings of [restore] that a file has no part in


def run(
    section: RestoreSection,
    degradation: DegradationSection,
    given: RestorationInput,
    *,
    model: Path,
    out: Path | None,
    device: torch.device,
) -> None:
    """Restore `given.file` with the model folder's prior into the folder `out`.

    Without `out` it is the folder `repaired/<name of the file>` beside the model, or one beside that where the result
    of another request is there: of another file of that name, another degradation, model or setting. No result of
    another request is ever replaced.

    Raises:
        RestorationError: the file, or what goes with it, does not fit the degradation or the model, or `out` holds
            something else than a result of this request.
        ArtifactError: `model` is no whole model folder.
    """
    given.check(degradation)
    if out is not None:
        _check_out(out)
    diffusion_model = DiffusionModel.load(model, weights=section.weights, device=device)
    data = diffusion_model.recipe.data
    try:
        degradation.check_modality(data)
    except ValueError as reason:
        raise RestorationError(f"{model} is not for this degradation: {reason}") from None
    request = _request(section, degradation, given, model)
    if out is not None:
        _check_request(out, request)
    process = build_degradation(degradation, diffusion_model.codec, seed=section.seed, device=device)
    with explains_examples_memory(diffusion_model, section.precision, 1):
        restored = restore_file(process, section, diffusion_model, given)
    first = out or model.parent / "repaired" / given.file.stem
    with path_lock(first):  # two at once must not choose the same folder
        if out is None:
            place = _free_folder(first, degradation, request)
        else:
            place = out
            _check_out(out)
            _check_request(out, request)
        with new_folder(place) as folder:
            name = write_example(folder / given.file.stem, restored.example, data)
            write_json(folder / RESULT, request | {"notes": restored.notes, "gain": restored.gain})
    for note in restored.notes:
        log(f"{given.file}: {note}")
    if place != first:
        log(f"{first} holds the result of another request ({_described(_earlier(first))}), and stays")
    log(f"{place / name}")


def _request(
    section: RestoreSection, degradation: DegradationSection, given: RestorationInput, model: Path
) -> dict[str, Any]:
    """What decides a result: where all of it is the same, the result is."""
    beside = {"impulse_response": given.impulse_response, "mask": given.mask}
    return {
        "file": str(given.file.absolute()),
        "degradation": degradation.model_dump(mode="json"),
        **{f"{name}_hash": _hash(path) for name, path in {"file": given.file, **beside}.items()},
        "model_hash": Model.content_hash(model),
        "settings": section.model_dump(mode="json", exclude=OF_EXAMPLES),
    }


def _hash(path: Path | None) -> str | None:
    """Of a file that goes in; None without one. What is no file is refused when it is read."""
    return file_hash(path) if path is not None and path.is_file() else None


def _free_folder(first: Path, degradation: DegradationSection, request: dict[str, Any]) -> Path:
    """`first`, or a folder beside it: the first in their order that is not there, or has the result of `request`."""
    label = degradation.kind if degradation.name == FILE_DEFAULTS["name"] else degradation.name
    more = (f"{first.name}-{label}-{number}" for number in itertools.count(2))
    names = itertools.chain([first.name, f"{first.name}-{label}"], more)
    folders = (first.with_name(name) for name in names)
    return next(folder for folder in folders if not folder.exists() or _is_of(_earlier(folder), request))


def _check_out(out: Path) -> None:
    """What lies at `out` is replaced: raises RestorationError where that would be somebody's own folder."""
    if out.exists() and not (out / RESULT).is_file():
        raise RestorationError(f"--out {out}: is there already, and was not made by linnet repair; give a new folder")


def _check_request(out: Path, request: dict[str, Any]) -> None:
    """Raises RestorationError where the result of another request lies at `out`."""
    if out.exists() and not _is_of(earlier := _earlier(out), request):
        raise RestorationError(
            f"--out {out}: holds the result of another request ({_described(earlier)}); give a new folder, or delete "
            "that one"
        )


def _earlier(folder: Path) -> dict[str, Any]:
    """What was done in `folder`; nothing where that cannot be read."""
    try:
        facts = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _is_of(facts: dict[str, Any], request: dict[str, Any]) -> bool:
    return {key: value for key, value in facts.items() if key in request} == request


def _described(facts: dict[str, Any]) -> str:
    """For people: whose result it is."""
    match facts:
        case {"file": str(file), "degradation": {"kind": str(kind)}}:
            return f"{kind} of {file}"
        case _:
            return f"its {RESULT} does not say which"
