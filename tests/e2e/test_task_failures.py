"""What goes wrong in a task is one sentence with cause and remedy, and nothing half-written is passed on."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from linnet import tasks
from linnet.artifacts import Dataset, Model
from linnet.hashes import folder_hash
from linnet.recipe.load import parse_recipe
from linnet.recipe.texts import data_text, training_text
from linnet.stages import ingest
from support.tiny import tiny_raw_data, write_tiny_recipe

pytestmark = pytest.mark.e2e
NOWHERE = "http://127.0.0.1:1"
VOLUME = f"{tempfile.gettempdir()}/linnet-volume"  # mounted, as far as the settings say


@dataclass(frozen=True)
class Finished:
    """A folder with what each task made when nothing disturbed it."""

    folder: Path
    fingerprint: str
    raw_hash: str


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """Everything up to the samples, made by the tasks themselves (MLflow is out of reach throughout)."""
    folder = tmp_path_factory.mktemp("tasks")
    recipe = write_tiny_recipe(folder).read_text()
    tiny_raw_data(folder / "source")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", NOWHERE)
        patch.setenv("LINNET_WORK", str(folder / "work"))
        raw, dataset, model, samples = (str(folder / name) for name in ("raw", "dataset", "model", "samples"))
        page, parsed = str(folder / "page"), parse_recipe(recipe, where="test")
        for name, text in (("data", data_text(parsed)), ("training", training_text(parsed))):
            (folder / f"{name}.toml").write_text(text)
        data, training = data_text(parsed), training_text(parsed)
        source = str(folder / "source")
        fingerprint = ingest.fingerprint(parsed.data, source)
        raw_hash = tasks.ingest(data, source=source, fingerprint=fingerprint, out=raw)["content_hash"]
        tasks.preprocess(data, raw=raw, raw_hash=raw_hash, out=dataset, page=page)
        dataset_hash = Dataset.content_hash(Path(dataset))
        tasks.train(
            training,
            dataset=dataset,
            dataset_hash=dataset_hash,
            dataset_facts={},
            out=model,
            num_nodes=1,
        )
        tasks.sample(recipe, model=model, model_hash=Model.content_hash(Path(model)), out=samples, page=page)
        yield Finished(folder, fingerprint, raw_hash)


def run_task(finished: Finished, call: str, out: Path, **environment: str) -> str:
    """The sentence that a failing task prints when it runs as in an engine: in a process of its own."""
    code = f"""
import sys
from pathlib import Path
from linnet import tasks
from linnet.artifacts import Dataset, Model

if __name__ == "__main__":
    recipe, data, training = (
        Path({str(finished.folder)!r}, name + ".toml").read_text() for name in ("birds-tiny", "data", "training")
    )
    fingerprint, raw_hash = {finished.fingerprint!r}, {finished.raw_hash!r}
    at = lambda name: str(Path({str(finished.folder)!r}) / name)
    hash_of = lambda kind: kind.content_hash(Path(at(kind.__name__.lower())))
    out = {str(out)!r}
    page = out + "-page"
    {call}
"""
    script = finished.folder / f"{out.name}.py"
    script.write_text(code)
    hidden = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL_S3")
    clean = {name: value for name, value in os.environ.items() if name not in hidden}
    clean |= {"MLFLOW_TRACKING_URI": NOWHERE, "LINNET_WORK": str(finished.folder / "work-of-tests")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)],
        capture_output=True,
        text=True,
        env=clean | environment,
        check=False,
    )
    assert done.returncode in (1, 2), done.stderr  # 2: the recipe is wrong, as on the command line
    assert "Traceback" not in done.stderr
    assert not out.exists(), "nothing half-written"
    assert not out.with_name(f"{out.name}-page").exists()
    *_, last = said = done.stderr.strip().splitlines()
    if not last.startswith("error: "):
        return last
    return " ".join(line.removeprefix("error: ") for line in said if line.startswith("error: "))  # as pods say it


TRAIN = (
    "tasks.train(training, dataset=at('dataset'), dataset_hash=hash_of(Dataset), dataset_facts={}, out=out, "
    "num_nodes=1)"
)
RESTORE = (
    "tasks.restore(recipe, dataset=at('dataset'), dataset_hash=hash_of(Dataset), model=at('model'), "
    "model_hash=hash_of(Model), out=out, page=page)"
)
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL_S3": NOWHERE}
TRAINJOB = {
    "LINNET_TRAINJOB": json.dumps(
        {
            "namespace": "linnet",
            "image": "linnet:dev",
            "gpus_per_node": 2,
            "cpu": "8",
            "memory": "1Gi",
            "shared_memory": "64Mi",
            "volume_claim": "linnet-work",
            "volume_mount_path": VOLUME,
            "termination_grace_seconds": 60,
            "active_deadline_seconds": 600,
        }
    )
}
POD = TRAINJOB | {"KUBERNETES_SERVICE_HOST": "127.0.0.1"}
LOOK = "tasks.look(recipe, overrides='', source={source!r}, num_nodes={nodes}, only_if_changed=False, page=page)"


@pytest.mark.parametrize(
    ("source", "nodes", "environment", "words"),
    [
        ("", 1, {}, f"MLflow at {NOWHERE}: does not answer .*check MLFLOW_TRACKING_URI"),
        ("s3://bucket/birds/", 1, {}, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.*on a cluster: the secret"),
        (
            "s3://bucket/birds/",
            1,
            {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL_S3": NOWHERE},
            f"no connection to {NOWHERE}.*AWS_ENDPOINT_URL",
        ),
        ("", 2, {}, "num_nodes = 2 needs Kubeflow Trainer, and LINNET_TRAINJOB is not set: train on one node, or"),
        ("", 0, {}, "num_nodes = 0"),
        ("", 1, {"LINNET_WORK": "s3://bucket/work"} | KEYS, "no connection to"),
        ("caltec", 1, {}, "--source caltec: no such file or folder; give 'synthetic', 'caltech'"),
        ("dvc:https://user:secret@127.0.0.1:1/x@main", 1, {}, "dvc:https://127.0.0.1:1/x@main: `git` failed"),
        ("", 1, POD, "LINNET_WORK = .* is on this pod's own disk.*config.yaml"),
        ("", 1, POD | {"LINNET_WORK": f"{VOLUME}/work", "MLFLOW_TRACKING_URI": ""}, "names no server.*ConfigMap"),
        (
            "",
            1,
            POD | {"LINNET_WORK": f"{VOLUME}/work", "MLFLOW_TRACKING_URI": "http://u:secret@127.0.0.1:4031"},
            "holds a user; put user and password into the secret linnet-mlflow",
        ),
        (
            "",
            3,
            POD | {"LINNET_WORK": f"{VOLUME}/work"},
            "batch_size = 4 cannot be shared out evenly to 6 processes .*train.batch_size=6, or take fewer nodes",
        ),
    ],
)
def test_look_refuses_before_anything_is_spent(
    finished: Finished, tmp_path: Path, source: str, nodes: int, environment: dict[str, str], words: str
) -> None:
    said = run_task(finished, LOOK.format(source=source, nodes=nodes), tmp_path / "out", **environment)
    assert said.startswith("linnet look: ")
    assert "secret@" not in said
    assert re.search(words, said), said


def test_a_wrong_recipe_names_key_and_remedy(finished: Finished, tmp_path: Path) -> None:
    call = LOOK.format(source="", nodes=1).replace("(recipe,", "(recipe.replace('batch_size', 'batchsize'),")
    assert "did you mean 'batch_size'?" in run_task(finished, call, tmp_path / "out")


def test_a_report_that_was_changed_decides_nothing(finished: Finished, tmp_path: Path) -> None:
    call = (
        "tasks.gate(recipe, model=at('model'), model_hash=hash_of(Model), report=at('samples'), report_hash='0' * 64, "
        "source='', fingerprint=fingerprint, out=out, page=page)"
    )
    assert "samples is not what the task before it made" in run_task(finished, call, tmp_path / "out")


def test_a_source_that_changed_since_the_run_began_is_refused(finished: Finished, tmp_path: Path) -> None:
    """Else an engine's cache would say ever after that this data is what `look` saw."""
    call = "tasks.ingest(data, source=at('source'), fingerprint='0' * 64, out=out)"
    assert "source has changed since this run began" in run_task(finished, call, tmp_path / "out")


def test_a_damaged_input_is_refused(finished: Finished, tmp_path: Path) -> None:
    """What a cache or a copy hands over must be what the task before it made."""
    for call in (
        "tasks.preprocess(data, raw=at('raw'), raw_hash='0' * 64, out=out, page=page)",
        TRAIN.replace("hash_of(Dataset)", "'0' * 64"),
        "tasks.sample(recipe, model=at('model'), model_hash='0' * 64, out=out, page=page)",
        RESTORE.replace("hash_of(Dataset)", "'0' * 64"),
        RESTORE.replace("hash_of(Model)", "'0' * 64"),
    ):
        said = run_task(finished, call, tmp_path / "out")
        assert "is not what the task before it made (hash" in said


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real file system with almost no room (needs the right to mount one)."""
    folder = tmp_path_factory.mktemp("disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12k", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("may not mount a small file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    "call",
    [
        "tasks.ingest(data, source=at('source'), fingerprint=fingerprint, out=out)",
        "tasks.ingest(data, source='', fingerprint=fingerprint, out=out)",
        "tasks.preprocess(data, raw=at('raw'), raw_hash=raw_hash, out=out, page=page)",
        TRAIN,
        "tasks.sample(recipe, model=at('model'), model_hash=hash_of(Model), out=out, page=page)",
        RESTORE,
    ],
    ids=["ingest a folder", "make synthetic birds", "preprocess", "train", "sample", "restore"],
)
def test_a_full_disk_is_one_sentence(finished: Finished, full_disk: Path, call: str) -> None:
    said = run_task(finished, call, full_disk / "out")
    assert "No space left on device; nothing half-written was kept" in said
    assert str(full_disk) in said
    assert "give it a larger disk or volume" in said
    assert list(full_disk.iterdir()) == []


def test_a_full_work_location_stops_training_with_one_sentence(
    finished: Finished, full_disk: Path, tmp_path: Path
) -> None:
    call = TRAIN
    said = run_task(finished, call, tmp_path / "out", LINNET_WORK=str(full_disk / "work"), KUBERNETES_SERVICE_HOST="x")
    assert "No space left on device" in said


def test_what_was_made_is_whole(finished: Finished) -> None:
    """The fixture's tasks ran without MLflow: it is told of them, and they need it for nothing."""
    assert folder_hash(finished.folder / "samples")
    assert not list(finished.folder.glob(".*.partial"))
