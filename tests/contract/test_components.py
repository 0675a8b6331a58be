"""Components stay thin, and know the same stages as the command line."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from linnet import stages, tasks

ROOT = Path(__file__).parents[2]
COMPONENTS = sorted(path for path in (ROOT / "components").glob("*.py") if path.stem not in ("__init__", "image"))
# Imports, calls and names: everything else is logic, and logic lives where it is tested.
ALLOWED = (
    ast.arguments, ast.arg, ast.ImportFrom, ast.alias, ast.Expr, ast.Assign, ast.Return, ast.Call, ast.keyword,
    ast.Name, ast.Attribute, ast.Subscript, ast.Constant, ast.Load, ast.Store, ast.Tuple,
)  # fmt: skip


def body_of(path: Path) -> ast.FunctionDef:
    functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    assert [function.name for function in functions] == [path.stem], "one component a file, of the file's name"
    return functions[0]


def logic_in(function: ast.FunctionDef) -> list[str]:
    return [type(node).__name__ for line in function.body for node in ast.walk(line) if not isinstance(node, ALLOWED)]


@pytest.mark.parametrize("path", COMPONENTS, ids=lambda path: path.stem)
def test_a_body_is_one_call_of_its_task(path: Path) -> None:
    function = body_of(path)
    assert logic_in(function) == []
    calls = [node for line in function.body for node in ast.walk(line) if isinstance(node, ast.Call)]
    of_tasks = [ast.unparse(call.func) for call in calls if ast.unparse(call.func).startswith("tasks.")]
    assert of_tasks == [f"tasks.{path.stem}"]
    assert {ast.unparse(call.func) for call in calls} - set(of_tasks) <= {
        f"{name}.metadata.update"
        for name in ("raw", "dataset", "model", "samples", "restored", "metrics", "report", "registration")
    }
    assert hasattr(tasks, path.stem)


def test_the_reader_of_bodies_sees_logic() -> None:
    for code in (
        "if a: b()",
        "for a in b: c()",
        "a = b + c",
        "a = [b for b in c]",
        "a = b if c else d",
        "f(lambda: 1)",
    ):
        assert logic_in(ast.parse(f"def f():\n    {code}").body[0])  # type: ignore[arg-type]


def test_components_and_stages_have_the_same_names() -> None:
    """`gate` registers; `look` and `close` are what only an engine needs."""
    of_stages = {stage.name for stage in stages.STAGES} - {"register"}
    assert {path.stem for path in COMPONENTS} == of_stages | {"look", "gate", "close"}


def test_importing_components_costs_no_torch() -> None:
    names = ", ".join(f"components.{path.stem}" for path in COMPONENTS)
    code = f"import sys, {names}; print([m for m in ('torch', 'mlflow', 'linnet.stages') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
