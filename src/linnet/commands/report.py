"""report: pages for people about what a recipe made, rendered from results that are there already."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, assert_never

from linnet.artifacts import read_provenance
from linnet.files import PROVENANCE, write_text
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


def run(recipe: Recipe, *, folder: Path, pages: Iterable[Page] = RESULTS, track: bool = False) -> None:
    """Render those of `pages` whose results lie in `folder` (BUILD/<recipe>) into its folder `pages`.

    The page about the training lies beside that folder: it tells times, which are no part of a result.

    Args:
        track: whether the page about the evaluation also goes to the model's MLflow run.

    Raises:
        ArtifactError: a result is damaged, or of another version of linnet.
    """
    (folder / "pages").mkdir(parents=True, exist_ok=True)
    for page in pages:
        if not (folder / RESULTS[page] / PROVENANCE).is_file():
            continue
        text, path = _render(page, recipe, folder), folder / ("" if page == "training" else "pages") / f"{page}.html"
        write_text(path, text)
        log(f"look at {path}")
        if page == "evaluation" and track:
            from linnet.tracking.client import log_text

            log_text(read_provenance(folder / "model", made_by="train")["input_hash"], text, "report/evaluation.html")


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
