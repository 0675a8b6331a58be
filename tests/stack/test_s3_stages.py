"""Stages on a real S3 server: ingest, DVC and training over a bucket; test_s3.py says which server."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from linnet import storage
from linnet.artifacts import Raw
from linnet.data.layouts.caltech import FOLDER
from linnet.data.raw import RawDataError
from linnet.data.sources.archive import ArchiveError
from linnet.data.sources.download import DownloadError
from linnet.data.synthetic.birds import make_birds
from linnet.files import PROVENANCE
from linnet.hashes import folder_hash
from linnet.stages import ingest
from linnet.storage import StorageError
from support.image_section import BIRDS
from support.s3 import keys

ENDPOINT = os.environ.get("AWS_ENDPOINT_URL_S3", "")
pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(not ENDPOINT, reason="AWS_ENDPOINT_URL_S3 names no S3 server"),
]


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("birds")
    make_birds(folder, per_species=2)
    return folder


def run_ingest(source: str, out: Path) -> None:
    ingest.run(BIRDS, source=source, out=out, work=out.parent / "work")


@pytest.mark.parametrize("kind", ["archive", "folder", "flat folder"])
def test_ingest_from_s3_gives_what_is_given_locally(
    client: Any, bucket: str, birds: Path, tmp_path: Path, kind: str
) -> None:
    url, out = f"s3://{bucket}/raw/birds/", tmp_path / "out"
    if kind == "archive":
        url = f"s3://{bucket}/raw/birds.tgz"
        archive = shutil.make_archive(str(tmp_path / "birds"), "gztar", root_dir=birds, base_dir=FOLDER)
        storage.upload_file(Path(archive), url)
    else:
        storage.upload_folder(birds if kind == "folder" else birds / FOLDER, url)
    run_ingest(url, out)
    assert Raw.content_hash(out) == Raw.content_hash(birds)
    source = json.loads((out / Raw.source).read_text())
    assert source == {
        "kind": "s3 archive" if kind == "archive" else "s3 folder",
        "url": url,
        "version": storage.version(url),
        "content_hash": Raw.content_hash(birds),
    }
    assert list((tmp_path / "work").iterdir()) == []
    first = out.stat().st_ino
    run_ingest(url, out)
    assert out.stat().st_ino == first  # nothing is done twice
    if kind == "folder":
        client.delete_object(Bucket=bucket, Key=f"raw/birds/{FOLDER}/classes.txt")
        with pytest.raises(RawDataError, match=rf"^{url}: .*classes\.txt missing"):
            run_ingest(url, out)
        assert out.stat().st_ino == first
        assert list((tmp_path / "work").iterdir()) == []


def test_ingest_of_what_is_no_archive(bucket: str, made: Path, tmp_path: Path) -> None:
    url = f"s3://{bucket}/weights"
    storage.upload_file(made / "weights", url)
    with pytest.raises(ArchiveError, match=rf"^{url}: .*weights: not a whole archive"):
        run_ingest(url, tmp_path / "out")
    with pytest.raises(StorageError, match="there is no such object"):
        run_ingest(f"s3://{bucket}/absent.tgz", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert list((tmp_path / "work").iterdir()) == []


def test_dvc_through_s3(bucket: str, birds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "someone@example.org")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    repository = tmp_path / "repository"
    shutil.copytree(birds, repository / "data" / "birds")
    dvc = str(Path(sys.executable).parent / "dvc")
    for command in (
        ["git", "init", "--initial-branch", "main"],
        [dvc, "init", "--quiet"],
        [dvc, "remote", "add", "--default", "store", f"s3://{bucket}/dvc"],
        [dvc, "add", "--quiet", "data"],
        ["git", "add", "."],
        ["git", "commit", "--message", "birds"],
        [dvc, "push"],
    ):
        subprocess.run(command, cwd=repository, check=True, capture_output=True)
    url = repository.as_uri()  # a clone, so that the data comes from S3
    run_ingest(f"dvc:{url}@main", tmp_path / "out")
    assert Raw.content_hash(tmp_path / "out") == Raw.content_hash(birds)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(DownloadError, match=r"`dvc` failed \(ERROR: .*\); check the repository, the revision, and"):
        run_ingest(f"dvc:{url}@main", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_two_nodes_train_through_s3_and_leave_no_checkpoint(bucket: str, client: Any, tmp_path: Path) -> None:
    """What the pods of a TrainJob do when they share nothing but a bucket."""
    from e2e.test_many_nodes import start_nodes
    from linnet.stages import preprocess
    from linnet.tasks import nodes
    from support.tiny import tiny_raw_data, tiny_recipe

    recipe = tiny_recipe()
    preprocess.run(recipe.data, raw=tiny_raw_data(tmp_path / "raw"), out=tmp_path / "dataset", workers=1)
    url = f"s3://{bucket}/work/nodes-0"
    nodes.publish(recipe, tmp_path / "dataset", url)
    start_nodes(url, tmp_path, count=2)
    nodes.fetch(url, tmp_path / "model", job="linnet-train-0")
    left = keys(client, bucket)
    assert f"work/nodes-0/model/{PROVENANCE}" in left
    assert not [key for key in left if "checkpoint" in key]
    again = tmp_path / "again"
    again.mkdir()
    start_nodes(url, again, count=2)  # a task that is repeated finds the model there


def test_a_checkpoint_in_s3_outlives_the_machine(bucket: str, client: Any, tmp_path: Path) -> None:
    from linnet.stages import preprocess
    from linnet.tasks import training
    from support.tiny import tiny_raw_data, tiny_recipe

    recipe = tiny_recipe("train.duration_kexamples=1.6")
    preprocess.run(recipe.data, raw=tiny_raw_data(tmp_path / "raw"), out=tmp_path / "dataset", workers=1)
    work = f"s3://{bucket}/work"
    code = (
        "import sys, torch; from pathlib import Path; from linnet.tasks import training\n"
        "from support.tiny import tiny_recipe\n"
        "training.on_this_machine(tiny_recipe('train.duration_kexamples=1.6'), dataset=Path(sys.argv[1]), "
        "out=Path(sys.argv[2]), work=sys.argv[3], device=torch.device('cpu'), "
        "checkpoint_every_seconds=0.5, track=False)"
    )

    def start(name: str) -> subprocess.Popen[str]:
        (tmp_path / name).mkdir()
        environment = os.environ | {"TMPDIR": str(tmp_path / name), "PYTHONPATH": str(Path(__file__).parents[1])}
        command = [sys.executable, "-c", code, str(tmp_path / "dataset"), str(tmp_path / f"model-{name}"), work]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    first = start("first")
    while first.poll() is None and not [key for key in keys(client, bucket) if "checkpoint-" in key]:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert not (tmp_path / "model-first").exists()
    second = start("second")
    stderr = second.communicate(timeout=120)[1]
    assert second.returncode == 0, stderr
    assert "train: resuming after step" in stderr
    assert keys(client, bucket) == []
    import torch

    training.on_this_machine(
        recipe,
        dataset=tmp_path / "dataset",
        out=tmp_path / "whole",
        work=str(tmp_path / "work"),
        device=torch.device("cpu"),
        track=False,
    )
    assert folder_hash(tmp_path / "model-second", leave_out=()) == folder_hash(tmp_path / "whole", leave_out=())


def test_a_model_that_did_not_arrive_is_not_trained_again(bucket: str, client: Any, tmp_path: Path) -> None:
    """The engine may lose a task between its last step and the upload of what it made."""
    import torch

    from linnet.stages import preprocess
    from linnet.tasks import training
    from support.tiny import tiny_raw_data, tiny_recipe

    recipe = tiny_recipe()
    preprocess.run(recipe.data, raw=tiny_raw_data(tmp_path / "raw"), out=tmp_path / "dataset", workers=1)

    def train(name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
        (tmp_path / name).mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / name))  # a pod of its own
        training.on_this_machine(
            recipe,
            dataset=tmp_path / "dataset",
            out=tmp_path / name / "model",
            work=f"s3://{bucket}/work",
            device=torch.device("cpu"),
            keep_checkpoint=True,
            track=False,
        )
        return tmp_path / name / "model"

    with pytest.MonkeyPatch.context() as patch:
        first = train("first", patch)
        patch.setattr("linnet.stages.train.DiffusionLoss.__call__", None)  # no step may be computed again
        second = train("second", patch)
    assert folder_hash(first, leave_out=()) == folder_hash(second, leave_out=()), "grids too"
    assert len(list((second / "grids").iterdir())) > 1
    assert [key for key in keys(client, bucket) if "checkpoint-" in key]
