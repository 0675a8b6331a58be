"""The documentation links to files and headings that exist, and names commands and targets that exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from linnet.cli import app
from support.tree import project_files

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
HISTORY = {"lab-log.md"}  # quotes the commands of its day
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CALL = re.compile(r"(?<![\w./-])(?<!-n )linnet ([a-z][a-z-]*)([^`#\n]*)")  # kubectl -n linnet is none
CODE = re.compile(r"^```.*?^```|^    .*?$|`[^`]+`", re.MULTILINE | re.DOTALL)

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
instructions = pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in HISTORY], ids=lambda page: str(page.relative_to(ROOT))
)


def prose(page: Path) -> str:
    """The text without code, in which a bracket is no link."""
    return CODE.sub("", page.read_text(encoding="utf-8"))


def code(page: Path) -> Iterator[str]:
    """The code blocks line by line, and the code spans, without comments."""
    return (re.sub(r"(^|\s)#[^\n]*", "", found[0]) for found in CODE.finditer(page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target), link


@instructions
def test_every_command_exists(page: Path) -> None:
    commands = typer.main.get_group(app).commands
    for text in code(page):
        for command, _ in CALL.findall(text):
            assert command in commands, text


@instructions
def test_every_target_of_make_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for text in code(page):
        for target in re.findall(r"(?<![\w./-])make ([a-z][a-z-]*)", text):
            assert target in targets, text


@instructions
def test_options_of_commands_exist(page: Path) -> None:
    """Of the lines in code blocks that call linnet."""
    commands = typer.main.get_group(app).commands
    for text in code(page):
        for command, rest in CALL.findall(text):
            known = {option for parameter in commands[command].params for option in parameter.opts}
            assert set(re.findall(r"(?<=\s)--[a-z][a-z-]*", rest)) <= known | {"--help"}, text


def test_files_named_in_commands_exist() -> None:
    """Recipes, sweeps, scripts and manifests that the documentation names."""
    tracked = project_files()
    names = re.compile(r"(?<![\w./-])(?:recipes|sweeps|deploy|pipelines|benchmarks|src|tests|components)/[\w./-]+\.\w+")
    for page in PAGES:
        if page.name in HISTORY:
            continue
        for text in code(page):
            for name in names.findall(text):
                assert name in tracked or Path(name).stem in ("mine", "x"), (page.name, name)
