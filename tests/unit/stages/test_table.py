"""The table of stages, against the imports of the code."""

import grimp
import pytest

from linnet.hashes import Stage, code_files, module_files
from linnet.stages import STAGES
from linnet.stages.table import NEVER_DECIDES

BY_NAME = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("linnet", cache_dir=None, exclude_type_checking_imports=True)


def imports(graph: grimp.ImportGraph, module: str) -> set[str]:
    """The modules of linnet that `module` imports, relative to linnet like itself."""
    found = graph.find_modules_directly_imported_by(f"linnet.{module}")
    return {name.removeprefix("linnet.") for name in found} - {"linnet"}


def reached(graph: grimp.ImportGraph, stage: Stage) -> set[str]:
    """The modules that the stage imports, however deep, but not through what decides nothing."""

    def decides_nothing(module: str) -> bool:
        return any(f"{module}.".startswith(f"{name}.") for name in NEVER_DECIDES + stage.ignores)

    found, waiting = set[str](), {f"stages.{stage.name}"}
    while waiting:
        module = waiting.pop()
        found.add(module)
        waiting |= {name for name in imports(graph, module) - found if not decides_nothing(name)}
    return found


def files_of(modules: set[str]) -> set[str]:
    """Their files; a recipe's module belongs to a section, and which sections count the table says."""
    return {f"{module.replace('.', '/')}.py" for module in modules if not f"{module}.".startswith("recipe.")}


@BY_NAME
def test_the_hash_covers_exactly_the_code_that_a_stage_reaches(graph: grimp.ImportGraph, stage: Stage) -> None:
    modules = {module for module in reached(graph, stage) if not graph.find_children(f"linnet.{module}")}
    hashed = {file for file in code_files(stage) if not file.startswith("recipe/")}
    assert files_of(modules) - hashed == set(), "reached, but not in `computes`"
    assert hashed - files_of(modules) == set(), "in `computes`, but not reached: put it into `ignores`"


@BY_NAME
def test_nothing_is_ignored_in_vain(graph: grimp.ImportGraph, stage: Stage) -> None:
    computed = {file for module in stage.computes for file in module_files(module)}
    for name in stage.ignores:
        files = set(module_files(name))
        imported = {imported for module in reached(graph, stage) for imported in imports(graph, module)}
        assert files & (computed | files_of(imported)), name


def test_stages_hand_on_what_the_stages_before_them_made() -> None:
    outputs = [stage.output for stage in STAGES]
    assert len(set(outputs)) == len(STAGES)
    for number, stage in enumerate(STAGES):
        assert set(stage.inputs) <= set(outputs[:number])
