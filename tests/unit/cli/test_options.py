"""Where results go: what DVC would refuse when they are finished is refused before they are begun."""

from pathlib import Path

import pytest

from linnet.cli.options import ResultsElsewhereError, open_recipe
from support.tiny import write_tiny_recipe


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In a project that DVC runs, in git; beside it another disk."""
    project = tmp_path / "project"
    (project / ".git").mkdir(parents=True)
    (tmp_path / "disk").mkdir()
    monkeypatch.chdir(project)
    monkeypatch.setenv("DVC_ROOT", str(project))
    monkeypatch.setenv("DVC_STAGE", "train@birds-tiny")
    return write_tiny_recipe(project)


def test_results_in_the_project_are_taken(recipe: Path) -> None:
    loaded, folder = open_recipe(recipe, None, Path("build"))
    assert folder == Path("build") / loaded.name


@pytest.mark.parametrize("link", ["build", "build/birds-tiny"])
def test_results_behind_a_link_are_refused_with_the_setting_that_helps(recipe: Path, link: str) -> None:
    Path(link).parent.mkdir(exist_ok=True)
    Path(link).symlink_to(recipe.parents[1] / "disk")
    with pytest.raises(ResultsElsewhereError, match=r"dvc config --local cache\.dir .*disk.* cache\.type symlink"):
        open_recipe(recipe, None, Path("build"))


def test_a_link_inside_of_the_project_is_taken(recipe: Path) -> None:
    (recipe.parent / "results").mkdir()
    Path("build").symlink_to("results")
    open_recipe(recipe, None, Path("build"))


@pytest.mark.parametrize("without", ["DVC_STAGE", ".git"])
def test_without_dvc_and_without_git_results_go_anywhere(
    recipe: Path, without: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("build").symlink_to(recipe.parents[1] / "disk")
    monkeypatch.delenv(without) if without.startswith("DVC") else Path(without).rmdir()
    open_recipe(recipe, None, Path("build"))
