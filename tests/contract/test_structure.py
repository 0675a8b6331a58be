"""Command line, DVC and the stages package name the same stages, code and recipe sections."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from linnet import stages
from linnet.cli import app
from linnet.hashes import code_files
from linnet.recipe import Recipe
from linnet.recipe.load import load_recipe
from linnet.tasks.environment import HASH_VARIABLES, WEIGHTS_VARIABLES

ROOT = Path(__file__).parents[2]
DVC: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_the_same_stages_everywhere() -> None:
    assert set(stages.NAMES) <= set(COMMANDS)
    assert set(stages.NAMES) - {"ingest"} == set(DVC)  # data.dvc pins what ingest brings
    assert all((ROOT / "src/linnet/stages" / f"{name}.py").is_file() for name in stages.NAMES)


@pytest.mark.parametrize("stage", sorted(DVC))
def test_dvc_depends_on_all_code_of_a_stage_and_on_no_folder_it_does_not_use(stage: str) -> None:
    wanted = {f"src/linnet/{name}" for name in code_files(f"linnet.stages.{stage}")}
    wanted = {name for name in wanted if Path(name).name != "__init__.py" or Path(name).parent.name == "pages"}
    listed = [dep for dep in DVC[stage]["deps"] if dep.startswith("src/")]
    covered = {name for name in wanted for dep in listed if name == dep or name.startswith(dep + "/")}
    assert wanted == covered
    useless = [dep for dep in listed if not any(name == dep or name.startswith(dep + "/") for name in wanted)]
    assert useless == (["src/linnet/serving.py"] if stage == "register" else [])  # shipped, not imported


def test_dvc_tracks_every_recipe_section_where_it_is_used() -> None:
    tracked = {
        section
        for stage in DVC.values()
        for params in stage["params"]
        for names in params.values()
        for section in names
    }
    sections = {field.alias or name for name, field in Recipe.model_fields.items()} - {"name"}
    assert tracked == sections


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
