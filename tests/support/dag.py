"""The compiled DAG: for a profile and an image, whatever the environment of the tests says."""

import functools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from support.tiny import ROOT

IMAGE = "linnet:dev"
Json = dict[str, Any]
PROFILES = sorted(path.stem for path in (ROOT / "pipelines" / "clusters").glob("*.toml"))


@functools.cache
def compiled(cluster: str) -> tuple[Json, Json]:
    """(pipeline spec, what each executor requests from Kubernetes)."""
    code = "import pathlib, sys, pipelines.compile; pipelines.compile.compile_pipeline(pathlib.Path(sys.argv[1]))"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "training.yaml"
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, str(path)],
            cwd=ROOT,
            env=os.environ | {"LINNET_IMAGE": IMAGE, "LINNET_CLUSTER": cluster},
            check=True,
            capture_output=True,
        )
        spec, platform = yaml.safe_load_all(path.read_text())
    return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def all_tasks(spec: Json) -> Iterator[tuple[str, Json]]:
    """Every task and every layer of the DAG, with its name there."""
    for component in (spec["root"], *spec["components"].values()):
        yield from component.get("dag", {}).get("tasks", {}).items()


def component_of(spec: Json, task: Json) -> Json:
    found: Json = spec["components"][task["componentRef"]["name"]]
    return found


def is_layer(spec: Json, task: Json) -> bool:
    """Whether the task only groups others."""
    return "dag" in component_of(spec, task)


def pods(spec: Json, *, executed: set[str], component: Json | None = None) -> int:
    """Pods that Kubeflow Pipelines 2.17 makes for a run in which only the tasks `executed` do anything.

    A driver for each DAG (the root's, too) and for each task of it, and an executor for each task that is executed.
    What is cached has its driver; what is behind a condition that does not hold has none, but its layer has one.
    """
    dag = (component or spec["root"])["dag"]["tasks"]
    count = 1
    for name, task in dag.items():
        inner = component_of(spec, task)
        if "dag" not in inner:
            count += 2 if name in executed else 1
        elif (
            "triggerPolicy" in task and "condition" in task["triggerPolicy"] and not executed & set(names(spec, inner))
        ):
            count += 1
        else:
            count += pods(spec, executed=executed, component=inner)
    return count


def names(spec: Json, component: Json) -> Iterator[str]:
    """The tasks below a layer."""
    for name, task in component["dag"]["tasks"].items():
        if is_layer(spec, task):
            yield from names(spec, component_of(spec, task))
        else:
            yield name


def seconds(text: str) -> int:
    """Of a duration such as 30s."""
    found = re.fullmatch(r"(\d+)s", text)
    assert found, text
    return int(found[1])
