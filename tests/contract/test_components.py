"""Components stay thin, the compiled DAG stays current, and both know the same stages as the command line."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from linnet import stages, tasks

ROOT = Path(__file__).parents[2]
COMPONENTS = sorted(path for path in (ROOT / "components").glob("*.py") if path.stem not in ("__init__", "image"))
COMPILED = ROOT / "pipelines" / "compiled" / "training.yaml"
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
        for name in ("raw", "dataset", "model", "shard", "samples", "restored", "metrics", "report", "registration")
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
    extra = {"check", "compare", "collect", "gate", "close"}
    assert {path.stem for path in COMPONENTS} == {stage.name for stage in stages.STAGES} | extra


def test_importing_components_costs_no_torch() -> None:
    names = ", ".join(f"components.{path.stem}" for path in COMPONENTS)
    code = f"import sys, {names}; print([m for m in ('torch', 'mlflow', 'linnet.stages') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_compiled_dag_is_current(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "LINNET_IMAGE"}
    code = "import pathlib, sys, pipelines.compile; pipelines.compile.compile_pipeline(pathlib.Path(sys.argv[1]))"
    fresh = tmp_path / "training.yaml"
    command = [sys.executable, "-W", "ignore", "-c", code, str(fresh)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    assert fresh.read_text() == COMPILED.read_text(), "run `make pipeline` and commit pipelines/compiled/"


@pytest.fixture(scope="module")
def dag() -> dict[str, Any]:
    pipeline, kubernetes = yaml.safe_load_all(COMPILED.read_text())
    return {"pipeline": pipeline, "executors": kubernetes["platforms"]["kubernetes"]["deploymentSpec"]["executors"]}


def tasks_of(dag: dict[str, Any]) -> dict[str, dict[str, Any]]:
    sections = [dag["pipeline"]["root"], *dag["pipeline"]["components"].values()]
    return {name: task for section in sections for name, task in section.get("dag", {}).get("tasks", {}).items()}


def test_only_what_its_inputs_decide_is_cached(dag: dict[str, Any]) -> None:
    cached = {name for name, task in tasks_of(dag).items() if task.get("cachingOptions", {}).get("enableCache")}
    leaves = {path.stem for path in COMPONENTS} | {"register-2"}
    assert cached & leaves == {"preprocess", "train", "sample", "collect", "restore", "evaluate"}


def test_a_cached_task_has_a_hash_beside_each_data_artifact(dag: dict[str, Any]) -> None:
    """KFP's cache key does not look into artifacts."""
    expected = {
        "preprocess": {"raw_hash"},
        "train": {"dataset_hash"},
        "sample": {"model_hash"},
        "collect": {"model_hash"},
        "restore": {"dataset_hash", "model_hash"},
        "evaluate": {"dataset_hash", "model_hash", "samples_hash", "restored_hash", "weights_hash"},
    }
    for name, hashes in expected.items():
        assert hashes <= set(tasks_of(dag)[name]["inputs"]["parameters"])


def test_every_task_is_configured(dag: dict[str, Any]) -> None:
    for name, settings in dag["executors"].items():
        variables = {item["envVar"] for secret in settings["secretAsEnv"] for item in secret["keyToEnv"]}
        assert {"AWS_ACCESS_KEY_ID", "MLFLOW_TRACKING_PASSWORD"} <= variables, name
        assert all(secret["optional"] for secret in settings["secretAsEnv"]), "check names what is missing"
        assert settings["imagePullPolicy"] == "IfNotPresent"
        assert settings["activeDeadlineSeconds"]
        assert settings["emptyDirMounts"][0]["mountPath"] == "/dev/shm"  # noqa: S108
        assert settings["fieldPathAsEnv"][0]["name"] == "LINNET_PIPELINE_RUN"
    specs = dag["pipeline"]["deploymentSpec"]["executors"]
    on_gpus = {name for name, spec in specs.items() if "accelerator" in spec["container"]["resources"]}
    assert on_gpus == {"exec-train", "exec-sample", "exec-restore", "exec-evaluate"}
    for name in on_gpus:
        assert dag["executors"][name]["nodeSelector"]["labels"] == {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
        assert dag["executors"][name]["tolerations"]
    assert {spec["container"]["image"] for spec in specs.values()} == {"linnet:dev"}


def test_resources_that_come_from_a_task_are_texts(dag: dict[str, Any]) -> None:
    """KFP's driver reads them with GetStringValue: a number would mean no GPU at all."""
    resources = dag["pipeline"]["deploymentSpec"]["executors"]["exec-train"]["container"]["resources"]
    requested = (
        resources["accelerator"]["resourceCount"],
        resources["resourceCpuRequest"],
        resources["resourceMemoryLimit"],
    )
    outputs = dag["pipeline"]["components"]["comp-check"]["outputDefinitions"]["parameters"]
    for name, value in zip(("pod_gpus", "pod_cpu", "pod_memory"), requested, strict=True):
        assert value == f"{{{{$.inputs.parameters['pipelinechannel--check-{name}']}}}}"
        assert outputs[name]["parameterType"] == "STRING"


def test_run_parameters_explain_themselves(dag: dict[str, Any]) -> None:
    parameters = dag["pipeline"]["root"]["inputDefinitions"]["parameters"]
    assert set(parameters) == {"recipe", "source", "num_nodes", "sample_tasks", "only_if_changed"}
    assert all(len(parameter["description"]) > 40 for parameter in parameters.values())


def test_components_explain_themselves(dag: dict[str, Any]) -> None:
    """The KFP UI shows the descriptions of inputs and outputs."""
    for path in COMPONENTS:
        component = dag["pipeline"]["components"][f"comp-{path.stem}"]
        for direction in ("inputDefinitions", "outputDefinitions"):
            for kind in component.get(direction, {}).values():
                for name, definition in kind.items():
                    assert definition.get("description", "").rstrip("\n").endswith((".", "`.")), f"{path.stem}: {name}"


def test_tasks_have_names_for_people(dag: dict[str, Any]) -> None:
    names = {name: task["taskInfo"]["name"] for name, task in tasks_of(dag).items() if "condition" not in name}
    assert all(name[0].isupper() for task, name in names.items() if not task.startswith(("for-loop", "exit-handler")))
    assert {names["register"], names["register-2"]} == {"Register as champion", "Register as challenger"}
