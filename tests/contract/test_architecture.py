"""docs/architecture.md draws the rooms that exist, and the import contract that is checked."""

import re
import tomllib
from pathlib import Path

from support.tree import project_files

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "src" / "linnet"


def section(title: str) -> str:
    """What stands below the heading `title`, up to the next heading."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def test_the_picture_of_imports_is_the_contract() -> None:
    drawn = [line.strip() for line in section("Who may import whom").splitlines() if line.startswith("    ")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = project["tool"]["importlinter"]["contracts"][0]
    assert contract["containers"] == ["linnet"]
    assert drawn == contract["layers"]


def test_the_rooms_are_the_packages_and_modules_there_are() -> None:
    lines = re.findall(r"^      (\w+)  +\S", section("Rooms"), re.MULTILINE)
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    packages = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert sorted(lines) == sorted(modules | packages)


def test_the_folders_of_the_project_are_drawn() -> None:
    drawn = {name for line in section("Rooms").splitlines() for name in re.findall(r"^    ([\w/]+)/ ", line)}
    drawn |= set(re.findall(r"^    \w+/  (\w+)/", section("Rooms"), re.MULTILINE)) | {"src"}
    assert {path.name for path in drawn_folders()} <= drawn


def drawn_folders() -> list[Path]:
    """Folders of the project, without hidden ones."""
    return sorted({ROOT / name.split("/")[0] for name in project_files() if "/" in name and not name.startswith(".")})


def test_every_path_of_the_table_for_newcomers_exists() -> None:
    for path in re.findall(r"`((?:\w+/)+[\w-]+\.(?:py|md))`", section("How to add")):
        assert (PACKAGE / path).is_file() or (ROOT / path).is_file(), path
    for folder in re.findall(r"`((?:\w+/)+)<name>\.py`", section("How to add")):
        assert (PACKAGE / folder).is_dir() or (ROOT / folder).is_dir(), folder
    for name in re.findall(r"\(an? `(\w+)`", section("How to add")):
        assert any(f"class {name}(" in path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")), name


def test_no_package_has_code_in_its_face() -> None:
    """`__init__.py` imports and lists names, nothing else."""
    for path in PACKAGE.rglob("__init__.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if re.match(r"(def|class|@|if|for|try|with) ?", line)], path
