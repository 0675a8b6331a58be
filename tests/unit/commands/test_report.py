"""Pages are rendered from the results that are there, as often as anybody likes, and change none of them."""

from pathlib import Path

import pytest

from linnet.commands import report
from linnet.files import PROVENANCE
from linnet.hashes import folder_hash
from linnet.recipe import Recipe
from linnet.stages import preprocess
from support.tiny import tiny_raw_data, tiny_recipe


def test_a_page_for_each_result_that_is_there(tmp_path: Path) -> None:
    recipe, folder = tiny_recipe(), tmp_path / "build" / "birds-tiny"
    report.run(recipe, folder=folder)
    assert list((folder / "pages").iterdir()) == []
    preprocess.run(recipe.data, raw=tiny_raw_data(tmp_path / "raw"), out=folder / "dataset", workers=1)
    dataset = folder_hash(folder / "dataset", leave_out=())
    report.run(recipe, folder=folder, pages=["samples"])
    assert list((folder / "pages").iterdir()) == []
    report.run(recipe, folder=folder)
    (page,) = (folder / "pages").iterdir()
    text = page.read_text()
    assert page.name == "dataset.html"
    assert "data:image/png;base64," in text
    report.run(recipe, folder=folder)
    assert page.read_text() == text
    assert folder_hash(folder / "dataset", leave_out=()) == dataset


def test_a_page_is_rendered_again_only_where_something_in_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder = tiny_recipe(), tmp_path / "build" / "birds-tiny"
    preprocess.run(recipe.data, raw=tiny_raw_data(tmp_path / "raw"), out=folder / "dataset", workers=1)
    rendered = []
    render = report._render

    def watched(page: report.Page, recipe: Recipe, folder: Path) -> str:
        rendered.append(page)
        return render(page, recipe, folder)

    def renders(recipe: Recipe) -> bool:
        rendered.clear()
        report.run(recipe, folder=folder, pages=["dataset"])
        return bool(rendered)

    monkeypatch.setattr(report, "_render", watched)
    page = report.page_path(folder, "dataset")
    assert renders(recipe)
    assert not renders(recipe)
    page.write_text(page.read_text()[:-100])  # cut off, as by a full disk
    assert renders(recipe)
    assert renders(tiny_recipe("sample.seed=5"))
    assert renders(recipe)
    (folder / "dataset" / PROVENANCE).write_text((folder / "dataset" / PROVENANCE).read_text() + " ")
    assert renders(recipe)
    monkeypatch.setattr(report, "_code_hash", lambda: "of other code")
    assert renders(recipe)
    page.unlink()
    assert renders(recipe)


def test_the_page_that_mlflow_did_not_take_is_rendered_and_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder = tiny_recipe(), tmp_path
    for result in ("dataset", "model", "samples", "report"):
        (folder / result).mkdir()
        (folder / result / PROVENANCE).write_text("{}")
    answers, sent = [False, True], []

    def store(folder: Path, text: str) -> bool:
        sent.append(text)
        return answers[len(sent) - 1]

    monkeypatch.setattr(report, "_render", lambda page, recipe, folder: "<html></html>\n")
    monkeypatch.setattr(report, "_store", store)
    for _ in range(4):
        report.run(recipe, folder=folder, pages=["evaluation"], track=True)
    assert len(sent) == 2
