"""Pages are rendered from the results that are there, as often as anybody likes, and change none of them."""

from pathlib import Path

from linnet.commands import report
from linnet.hashes import folder_hash
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
