"""Command line, DVC and the stages package name the same stages, code and recipe sections."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import grimp
import pytest
import typer.main
import yaml

from linnet.cli import app
from linnet.commands.report import PAGE_CODE, RESULTS
from linnet.hashes import Stage
from linnet.recipe import Recipe
from linnet.recipe.load import load_recipe
from linnet.stages import STAGES
from linnet.tasks.environment import HASH_VARIABLES, WEIGHTS_VARIABLES

ROOT = Path(__file__).parents[2]
DVC: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


BY_NAME = pytest.mark.parametrize("stage", STAGES[1:], ids=lambda stage: stage.name)  # data.dvc pins what ingest brings


def test_the_same_stages_everywhere() -> None:
    names = {stage.name for stage in STAGES}
    assert names <= set(COMMANDS)
    assert names - {"ingest"} | {"report"} == set(DVC)
    assert {path.stem for path in (ROOT / "src/linnet/stages").glob("*.py")} == names | {"__init__", "table"}


def code_of(stage: str) -> set[str]:
    """The modules of linnet that a stage of dvc.yaml depends on, relative to linnet."""
    return {
        dep.removeprefix("src/linnet/").removesuffix(".py").replace("/", ".")
        for dep in DVC[stage]["deps"]
        if dep.startswith("src/")
    }


@BY_NAME
def test_dvc_depends_on_the_code_and_the_inputs_of_the_table(stage: Stage) -> None:
    sections = {f"recipe.{section}" for section in ("section", *stage.sections)}
    declared = {f"stages.{stage.name}", *stage.computes, *sections}
    inside = {name for name in declared for package in declared if name.startswith(f"{package}.")}
    assert code_of(stage.name) == declared - inside
    folders = {dep.split("/")[2] for dep in DVC[stage.name]["deps"] if dep.startswith("build/")}
    assert folders == set(stage.inputs) - {"raw"}
    assert ("data" in DVC[stage.name]["deps"]) == ("raw" in stage.inputs)


@BY_NAME
def test_dvc_depends_on_the_sections_and_the_libraries_of_the_table(stage: Stage) -> None:
    params = {file: names for entry in DVC[stage.name]["params"] for file, names in entry.items()}
    assert tuple(params.pop("recipes/${item.recipe}.toml")) == stage.sections
    assert tuple(params.pop("versions.toml", ())) == stage.libraries
    assert params == {}


@BY_NAME
def test_dvc_keeps_results_until_linnet_has_judged_them(stage: Stage) -> None:
    """Without `persist` DVC deletes them first, and a changed comment would train again."""
    kinds = ("outs", "metrics", "plots")
    results = [
        (path, options) for kind in kinds for out in DVC[stage.name].get(kind, []) for path, options in out.items()
    ]
    assert {path.split("/")[2] for path, _ in results} == {stage.output}
    assert all(options["persist"] for _, options in results)


def test_the_pages_depend_on_what_they_show_and_on_the_code_that_renders_them() -> None:
    kept_by_dvc = {folder for page, folder in RESULTS.items() if page != "training"}  # that one tells times
    assert {dep.split("/")[2] for dep in DVC["report"]["deps"] if dep.startswith("build/")} == kept_by_dvc
    graph = grimp.build_graph("linnet", cache_dir=None, exclude_type_checking_imports=True)
    reached, waiting = set[str](), {"linnet.commands.report"}
    while waiting:
        module = waiting.pop()
        reached.add(module)
        waiting |= graph.find_modules_directly_imported_by(module) - reached
    decides_nothing = (
        *(
            "account",
            "artifacts",
            "errors",
            "files",
            "hashes",
            "engine",
            "patience",
            "progress",
            "recipe",
            "tracking",
            "walk",
        ),
    )
    rendering = {module.partition(".")[2] for module in reached} - {"", *decides_nothing}
    rendering = {module for module in rendering if module.partition(".")[0] not in decides_nothing}
    assert {module if module.partition(".")[0] != "reports" else "reports" for module in rendering} == code_of("report")
    assert {f"src/linnet/{name}" for name in PAGE_CODE} == {d for d in DVC["report"]["deps"] if d.startswith("src/")}


def test_versions_are_those_of_the_lock() -> None:
    versions = tomllib.loads((ROOT / "versions.toml").read_text())
    assert set(versions) == {library for stage in STAGES for library in stage.libraries}
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    for name, version in versions.items():
        assert any(line.split()[0] == f"{name}=={version}" for line in lock if line), f"{name}: run `make lock`"


def test_dvc_tracks_every_recipe_section() -> None:
    sections = {field.alias or name for name, field in Recipe.model_fields.items()} - {"name"}
    assert {section for stage in STAGES for section in stage.sections} == sections


def test_params_name_shipped_recipes() -> None:
    for name in yaml.safe_load((ROOT / "params.yaml").read_text())["recipes"]:
        load_recipe(ROOT / "recipes" / f"{name}.toml")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_teaches(name: str) -> None:
    text = subprocess.run(
        [sys.executable, "-c", "from linnet.cli import main; main()", name, "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "Usage" in text
    assert COMMANDS[name].help.split()[0] in text


@pytest.mark.parametrize("name", ["evaluate", "retrain"])
def test_weights_and_their_hashes_come_from_the_environment_too(name: str) -> None:
    """From the same variables as in a pipeline's task."""
    assert {option.envvar for option in COMMANDS[name].params if option.envvar} == {*WEIGHTS_VARIABLES, *HASH_VARIABLES}


def test_command_line_and_checks_import_no_torch_and_no_mlflow() -> None:
    """`linnet check` and `--help` answer at once."""
    code = (
        "import sys, linnet.cli, linnet.stages.preprocess, linnet.stages.ingest;"
        "print([m for m in ('torch', 'mlflow', 'torchmetrics') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_no_library_phones_home_unasked(tmp_path: Path) -> None:
    """MLflow asks for its telemetry's settings when it is imported; whoever sets a variable is heard."""
    names = ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY", "DVC_NO_ANALYTICS")
    clean = {  # MLflow is silent in CI and in tests by itself
        name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ
    }
    code = (
        "import sys; asked = []\n"
        "sys.addaudithook(lambda event, args: asked.append(args[0]) if event == 'socket.getaddrinfo' else None)\n"
        "import linnet, mlflow, huggingface_hub.constants\n"
        "from mlflow.telemetry.client import get_telemetry_client\n"
        "print(get_telemetry_client(), huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY, asked)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None True []"
    command = [sys.executable, "-c", f"import linnet, os; print({{os.environ[name] for name in {names!r}}})"]
    done = subprocess.run(
        command, env=clean | dict.fromkeys(names, "my own"), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "{'my own'}"


def test_training_needs_neither_mlflow_nor_dvc() -> None:
    """A GPU machine without them can train, sample and describe (tracking off)."""
    code = (
        "import sys\n"
        "for name in ('mlflow', 'dvc', 'kfp', 'torchmetrics', 'matplotlib'): sys.modules[name] = None\n"
        "import linnet.stages.train, linnet.stages.sample, linnet.commands.describe, linnet.stages.evaluate"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_lock_pins_exactly_and_names_no_address() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    packages = [line for line in lines if line and not line.startswith((" ", "#"))]
    assert packages
    assert all("==" in line for line in packages)
    assert not any("://" in line for line in lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {line.split("==")[0].lower() for line in packages}
    assert {name.split("==")[0].lower() for name in project["dependencies"]} <= names
