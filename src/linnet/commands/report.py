"""report: pages for people about what a recipe made, rendered from results that are there already."""

import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, assert_never

import linnet
from linnet.artifacts import Model, read_provenance
from linnet.files import PROVENANCE, write_text
from linnet.hashes import files_hash
from linnet.progress import log
from linnet.recipe import Recipe

Page = Literal["dataset", "training", "samples", "restorations", "evaluation"]
RESULTS: dict[Page, str] = {  # the folder of the result that each page is about
    "dataset": "dataset",
    "training": "model",
    "samples": "samples",
    "restorations": "restored",
    "evaluation": "report",
}

SOURCES: dict[Page, tuple[str, ...]] = {  # what a page reads besides its own result
    "dataset": (),
    "training": (Model.cost(Path("model")).name,),
    "samples": (),
    "restorations": (),
    "evaluation": (f"dataset/{PROVENANCE}", f"samples/{PROVENANCE}"),
}
PAGE_CODE = (  # what renders pages, in the package
    *("audio/loudness.py", "audio/pcm.py", "audio/spectrogram_image.py", "commands/report.py", "data/arrays.py"),
    *("metrics/results.py", "modalities/statistics.py", "modalities/summary.py", "reports"),
)


def run(recipe: Recipe, *, folder: Path, pages: Iterable[Page] = RESULTS, track: bool = False) -> None:
    """Render those of `pages` whose results lie in `folder` (BUILD/<recipe>) into its folder `pages`.

    A page that tells of these results already is left as it is. The page about the training lies beside that folder: it
    tells times, which are no part of a result.

    Args:
        track: whether the page about the evaluation also goes to the model's MLflow run.

    Raises:
        ArtifactError: a result is damaged, or of another version of linnet.
    """
    (folder / "pages").mkdir(parents=True, exist_ok=True)
    for page in pages:
        if not (folder / RESULTS[page] / PROVENANCE).is_file():
            continue
        path = page_path(folder, page)
        is_tracked = track and page == "evaluation"
        made_of = f"<!-- made of {_source_hash(page, recipe, folder, is_tracked=is_tracked)} -->\n"
        if not _ends_with(path, made_of):
            text = _render(page, recipe, folder)
            is_stored = not is_tracked or _store(folder, text)
            write_text(path, text + made_of if is_stored else text)
        log(f"look at {path}")


def page_path(folder: Path, page: Page) -> Path:
    """Where the page about a result in `folder` lies."""
    return (folder if page == "training" else folder / "pages") / f"{page}.html"


def _store(folder: Path, text: str) -> bool:
    """Whether MLflow has the page about the evaluation now, or no run that it belongs to."""
    from linnet.tracking.client import log_text

    return log_text(read_provenance(folder / "model", made_by="train")["input_hash"], text, "report/evaluation.html")


def _source_hash(page: Page, recipe: Recipe, folder: Path, *, is_tracked: bool) -> str:
    """Of all that a page is made of: results, recipe and code."""
    digest = hashlib.sha256(f"{_code_hash()}\n{is_tracked}\n{recipe.model_dump_json()}\n".encode())
    for name in (f"{RESULTS[page]}/{PROVENANCE}", *SOURCES[page]):
        digest.update((folder / name).read_bytes() if (folder / name).is_file() else b"\n")
    return digest.hexdigest()


@functools.cache
def _code_hash() -> str:
    package = Path(linnet.__file__).parent
    paths = [path for name in PAGE_CODE for path in (package / name, *(package / name).rglob("*"))]
    return files_hash(package, [str(path.relative_to(package)) for path in paths if path.suffix in (".py", ".html")])


def _ends_with(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8").endswith(text)


def _render(page: Page, recipe: Recipe, folder: Path) -> str:
    match page:
        case "dataset":
            from linnet.reports.dataset import dataset_page

            return dataset_page(recipe.data, folder / RESULTS[page])
        case "training":
            from linnet.reports.training import training_page

            return training_page(recipe.name, folder / RESULTS[page])
        case "samples":
            from linnet.reports.samples import samples_page

            return samples_page(recipe, folder / RESULTS[page])
        case "restorations":
            from linnet.reports.restorations import restorations_page

            return restorations_page(recipe, folder / RESULTS[page])
        case "evaluation":
            from linnet.reports.evaluation import evaluation_page

            return evaluation_page(
                recipe, dataset=folder / "dataset", samples=folder / "samples", report=folder / RESULTS[page]
            )
        case _:
            assert_never(page)
