"""Against a real S3 server: AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY say which."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
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
from linnet.files import PROVENANCE, write_json
from linnet.hashes import folder_hash
from linnet.recipe import CaltechLayout, Images, OfficialSplit
from linnet.stages import ingest
from linnet.storage import StorageError
from linnet.storage.connection import new_client
from linnet.storage.listing import PROBE, get_object
from linnet.storage.transfers import download_objects
from support import workers

ENDPOINT = os.environ.get("AWS_ENDPOINT_URL_S3", "")
pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(not ENDPOINT, reason="AWS_ENDPOINT_URL_S3 names no S3 server"),
]
BIRDS = Images(
    kind="images",
    layout=CaltechLayout(kind="caltech"),
    folder="birds",
    image_size_pixels=8,
    split=OfficialSplit(kind="official"),
    max_rejected_fraction=0.0,
)
BIG = 20_000_000  # bytes: sent and fetched in several parts


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    from boto3.session import Session

    client = Session().client("s3")
    yield client
    client.close()


@pytest.fixture
def bucket(client: Any) -> Iterator[str]:
    name = f"linnet-test-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=name)
    yield name
    for key in keys(client, name):
        client.delete_object(Bucket=name, Key=key)
    client.delete_bucket(Bucket=name)


def entries(client: Any, bucket: str, prefix: str = "") -> list[dict[str, Any]]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [entry for page in pages for entry in page.get("Contents", ())]


def keys(client: Any, bucket: str, prefix: str = "") -> list[str]:
    return [entry["Key"] for entry in entries(client, bucket, prefix)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder as a stage leaves it."""
    folder = tmp_path / "made"
    (folder / "grids" / "deep").mkdir(parents=True)
    (folder / "weights").write_bytes(os.urandom(BIG))
    (folder / "empty").write_bytes(b"")
    (folder / "grids" / "deep" / "Rotkehlchen + Zaunkönig #1.png").write_bytes(b"\x89PNG")
    for number in range(30):
        (folder / "grids" / f"{number}.txt").write_text(str(number))
    finish(folder)
    return folder


def finish(folder: Path) -> None:
    write_json(folder / PROVENANCE, {"stage": "train", "content_hash": folder_hash(folder)})


def upload_all_but_provenance(folder: Path, url: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and path.name != PROVENANCE:
            storage.upload_file(path, storage.join(url, path.relative_to(folder).as_posix()))


# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_comes_back_as_it_was(bucket: str, made: Path, tmp_path: Path) -> None:
    url = f"s3://{bucket}/run/model"
    assert not storage.is_complete(url)
    storage.upload_folder(made, url)
    assert storage.is_complete(url)
    storage.download_folder(url, tmp_path / "new" / "back")
    assert contents(tmp_path / "new" / "back") == contents(made)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["back"]


def test_uploading_makes_the_prefix_equal_and_sends_only_what_changed(client: Any, bucket: str, made: Path) -> None:
    url = f"s3://{bucket}/model"
    client.put_object(Bucket=bucket, Key="model-2/keep", Body=b"a neighbour")
    storage.upload_folder(made, url)
    before = {entry["Key"]: entry["LastModified"] for entry in entries(client, bucket)}
    time.sleep(1.1)  # S3's times are whole seconds
    (made / "grids" / "0.txt").write_text("1")  # same size, other content
    (made / "grids" / "1.txt").unlink()
    (made / "grids" / "new.txt").write_text("new")
    finish(made)
    storage.upload_folder(made, url)
    after = {entry["Key"]: entry["LastModified"] for entry in entries(client, bucket)}
    assert set(after) == {"model-2/keep"} | {f"model/{name}" for name in contents(made)}
    changed = {key for key, when in after.items() if when != before.get(key)}
    assert changed == {"model/grids/0.txt", "model/grids/new.txt", f"model/{PROVENANCE}"}
    assert client.get_object(Bucket=bucket, Key="model/grids/0.txt")["Body"].read() == b"1"


def test_an_upload_without_its_end_is_not_complete(bucket: str, made: Path) -> None:
    url = f"s3://{bucket}/model"
    upload_all_but_provenance(made, url)
    assert not storage.is_complete(url)
    storage.upload_folder(made, url)
    assert storage.is_complete(url)


SCRIPT = "import sys; from pathlib import Path; from linnet import storage; "
UPLOAD = SCRIPT + "storage.upload_folder(Path(sys.argv[1]), sys.argv[2])"
DOWNLOAD = SCRIPT + "storage.download_{}(sys.argv[1], Path(sys.argv[2]))"


def test_a_killed_upload_over_a_finished_folder_is_not_complete(
    client: Any, bucket: str, made: Path, tmp_path: Path
) -> None:
    url = f"s3://{bucket}/model"
    storage.upload_folder(made, url)
    for number in range(300):
        (made / f"zone-{number:03}").write_bytes(os.urandom(1000))
    finish(made)
    with subprocess.Popen([sys.executable, "-c", UPLOAD, made, url], stderr=subprocess.DEVNULL) as process:
        while not keys(client, bucket, "model/zone-01"):
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not keys(client, bucket, "model/zone-299")  # it was killed in the middle
    assert not storage.is_complete(url)
    storage.upload_folder(made, url)
    storage.download_folder(url, tmp_path / "back")
    assert contents(tmp_path / "back") == contents(made)


@pytest.mark.parametrize("damage", ["changed", "missing", "more"])
def test_damaged_objects_are_refused(client: Any, bucket: str, made: Path, tmp_path: Path, damage: str) -> None:
    url, back = f"s3://{bucket}/model", tmp_path / "new" / "back"
    storage.upload_folder(made, url)
    match damage:
        case "changed":
            client.put_object(Bucket=bucket, Key="model/grids/7.txt", Body=b"8")
        case "missing":
            client.delete_object(Bucket=bucket, Key="model/empty")
        case _:
            client.put_object(Bucket=bucket, Key="model/more", Body=b"")
    for before in ({}, {"old": b"content"}):
        if before:
            back.mkdir()
            (back / "old").write_bytes(b"content")
        with pytest.raises(StorageError, match=r"the objects do not hash to what their provenance\.json says"):
            storage.download_folder(url, back)
        assert (contents(back) if back.exists() else {}) == before
        assert {path.name for path in back.parent.iterdir()} == ({"back"} if before else set())


def test_a_damaged_provenance_is_refused(client: Any, bucket: str, made: Path, tmp_path: Path) -> None:
    storage.upload_folder(made, f"s3://{bucket}/model")
    client.put_object(Bucket=bucket, Key=f"model/{PROVENANCE}", Body=b"{")
    with pytest.raises(StorageError, match=r"/model: its provenance\.json is damaged; upload the folder again"):
        storage.download_folder(f"s3://{bucket}/model", tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("name", ["../escaped", "a/../../escaped", "/etc/escaped", "a//b", "a/./b", "..", "a/.."])
def test_names_that_leave_the_folder_are_refused(client: Any, bucket: str, tmp_path: Path, name: str) -> None:
    client.put_object(Bucket=bucket, Key="raw/good", Body=b"good")
    client.put_object(Bucket=bucket, Key=f"raw/{name}", Body=b"bad")
    with pytest.raises(StorageError) as caught:
        storage.download_folder(f"s3://{bucket}/raw", tmp_path / "new" / "raw")
    assert f"object 'raw/{name}' would land outside the folder; delete or rename it" in str(caught.value)
    assert list((tmp_path / "new").iterdir()) == []


def test_markers_of_empty_folders_and_left_probes_are_no_files(
    client: Any, bucket: str, made: Path, tmp_path: Path
) -> None:
    storage.upload_folder(made, f"s3://{bucket}/model")
    for key in ("model/", "model/grids/", f"model/{PROBE}killed"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    storage.download_folder(f"s3://{bucket}/model/", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(made)


def test_a_prefix_with_nothing_below(client: Any, bucket: str, tmp_path: Path) -> None:
    client.put_object(Bucket=bucket, Key="model-2/file", Body=b"")
    with pytest.raises(StorageError, match="/model: nothing is there; correct the address, or run the stage"):
        storage.download_folder(f"s3://{bucket}/model", tmp_path / "back")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_provenance_comes_as_it_is(bucket: str, made: Path, tmp_path: Path) -> None:
    (made / PROVENANCE).unlink()
    storage.upload_folder(made, f"s3://{bucket}/raw")
    storage.download_folder(f"s3://{bucket}/raw", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(made)


# --- several processes, Ctrl-C, a full disk ---------------------------------------------------------------------------


def test_four_processes_fetch_a_folder_once(bucket: str, made: Path, tmp_path: Path) -> None:
    url, back = f"s3://{bucket}/model", tmp_path / "new" / "back"
    storage.upload_folder(made, url)
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(4), context.Queue()
    ranks = [context.Process(target=workers.download, args=(url, back, ready, results)) for _ in range(4)]
    for rank in ranks:
        rank.start()
    seen = {results.get(timeout=60) for _ in ranks}
    for rank in ranks:
        rank.join()
    results.close()
    assert [rank.exitcode for rank in ranks] == [0] * 4
    assert seen == {back.stat().st_ino}  # a second download would be another folder
    assert contents(back) == contents(made)
    assert [path.name for path in back.parent.iterdir()] == ["back"]


def test_an_equal_folder_is_left_alone_and_another_replaced(bucket: str, made: Path, tmp_path: Path) -> None:
    url, back = f"s3://{bucket}/model", tmp_path / "back"
    storage.upload_folder(made, url)
    storage.download_folder(url, back)
    first = back.stat().st_ino
    storage.download_folder(url, back)
    assert back.stat().st_ino == first
    (back / "empty").write_text("changed since")
    storage.download_folder(url, back)
    assert contents(back) == contents(made)
    (made / "empty").write_text("another model")
    finish(made)
    storage.upload_folder(made, url)
    storage.download_folder(url, back)
    assert contents(back) == contents(made)


@pytest.mark.parametrize("what", ["folder", "file"])
def test_ctrl_c_leaves_nothing_half(bucket: str, tmp_path: Path, what: str) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "file").write_bytes(bytes(300_000_000))
    storage.upload_file(tmp_path / "big" / "file", f"s3://{bucket}/big/file")
    url = f"s3://{bucket}/big" + ("/file" if what == "file" else "")
    new = tmp_path / "new"
    command = [sys.executable, "-c", DOWNLOAD.format(what), url, str(new / "back")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not any(path.is_file() and path.stat().st_size for path in new.rglob("*")):
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, stderr = process.communicate(timeout=60)
    assert time.monotonic() - started < 10
    assert "KeyboardInterrupt" in stderr
    assert process.returncode != 0
    assert list(new.iterdir()) == []


def test_a_full_disk_is_one_sentence(bucket: str, tmp_path: Path) -> None:
    """/dev/full answers every write as a full disk does."""
    (tmp_path / "file").write_bytes(os.urandom(100_000))
    url = f"s3://{bucket}/file"
    storage.upload_file(tmp_path / "file", url)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".back.partial").symlink_to("/dev/full")
    with pytest.raises(StorageError) as caught:
        storage.download_file(url, tmp_path / "new" / "back")
    assert str(caught.value) == f"{url}: the local disk is full; free some space and repeat, nothing half was kept"
    assert list((tmp_path / "new").iterdir()) == []


def test_an_object_that_is_replaced_while_it_is_read(bucket: str, made: Path, tmp_path: Path) -> None:
    url = f"s3://{bucket}/weights"
    storage.upload_file(made / "weights", url)

    def replace_between_listing_and_reading() -> None:
        with new_client(url) as client:
            found = get_object(client, bucket, "weights", url=url)
            (made / "weights").write_bytes(os.urandom(BIG))
            storage.upload_file(made / "weights", url)
            download_objects(client, bucket, {found: str(tmp_path / "weights")}, description="download")

    with pytest.raises(StorageError, match="an object was replaced while it was read; repeat the command"):
        replace_between_listing_and_reading()


# --- single objects, access and refusals ------------------------------------------------------------------------------


def test_single_objects(bucket: str, made: Path, tmp_path: Path) -> None:
    url = f"s3://{bucket}/deep/weights"
    storage.upload_file(made / "weights", url)
    assert storage.exists(url)
    assert not storage.exists(f"s3://{bucket}/deep/weight")  # a name that another begins with
    assert not storage.exists(f"s3://{bucket}/deep")
    storage.download_file(url, tmp_path / "new" / "weights")
    assert (tmp_path / "new" / "weights").read_bytes() == (made / "weights").read_bytes()
    with pytest.raises(StorageError, match=r"/deep: there is no such object; correct the address \(a folder's ends"):
        storage.download_file(f"s3://{bucket}/deep", tmp_path / "new" / "deep")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["weights"]


def test_the_version_names_the_content(client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="raw/a", Body=b"a")
    one, all_of_it = f"s3://{bucket}/raw/a", f"s3://{bucket}/raw/"
    before = storage.version(one), storage.version(all_of_it)
    assert (storage.version(one), storage.version(all_of_it)) == before
    client.put_object(Bucket=bucket, Key="raw/b", Body=b"b")
    assert storage.version(one) == before[0]
    assert storage.version(all_of_it) != before[1]
    client.put_object(Bucket=bucket, Key="raw/a", Body=b"b")
    assert storage.version(one) != before[0]


def test_access_leaves_nothing(client: Any, bucket: str) -> None:
    started = time.monotonic()
    storage.check_access(f"s3://{bucket}/new/prefix", write=True)
    storage.check_access(f"s3://{bucket}", write=True)
    storage.check_access(f"s3://{bucket}/new/prefix", write=False)
    assert time.monotonic() - started < 5
    assert keys(client, bucket) == []


@pytest.mark.parametrize("write", [True, False])
def test_a_bucket_that_is_not_there(write: bool, tmp_path: Path) -> None:
    url = "s3://linnet-never-made/prefix"
    uses: tuple[Callable[[], object], ...] = (
        lambda: storage.check_access(url, write=write),
        lambda: storage.exists(url),
        lambda: storage.download_folder(url, tmp_path / "x"),
        lambda: storage.download_file(url, tmp_path / "x"),
        lambda: storage.upload_file(Path(__file__), url),
        lambda: storage.upload_folder(Path(__file__).parent, url),
    )
    for use in uses:
        with pytest.raises(StorageError) as caught:
            use()
        assert str(caught.value) == (
            f"{url}: {ENDPOINT} has no such bucket; make it, or correct the address or the endpoint "
            "(AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL)"
        )


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_keys(name: str, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(name, "somebody-else")
    url = f"s3://{bucket}/prefix"
    uses: tuple[Callable[[], object], ...] = (
        lambda: storage.check_access(url, write=True),
        lambda: storage.download_folder(url, tmp_path / "x"),
        lambda: storage.upload_file(Path(__file__), url),
    )
    for use in uses:
        with pytest.raises(StorageError) as caught:
            use()
        code = "InvalidAccessKeyId" if name == "AWS_ACCESS_KEY_ID" else "SignatureDoesNotMatch"
        assert str(caught.value) == (
            f"{url}: {ENDPOINT} refuses the credentials ({code}); correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
            "(on a cluster: the secret they come from)"
        )


def test_a_bucket_that_may_only_be_read(client: Any, bucket: str, made: Path, tmp_path: Path) -> None:
    url = f"s3://{bucket}/model"
    storage.upload_folder(made, url)
    refusal = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [refusal]}))
    storage.check_access(url, write=False)
    storage.download_folder(url, tmp_path / "back")
    uses: tuple[Callable[[], object], ...] = (
        lambda: storage.check_access(url, write=True),
        lambda: storage.upload_file(made / "empty", f"{url}/new"),
    )
    for use in uses:
        with pytest.raises(StorageError, match=r"denies access \(PutObject\); ask for the right to it, or give other"):
            use()


# --- ingest -----------------------------------------------------------------------------------------------------------


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


def test_remove_takes_a_folder_an_object_and_nothing_else(bucket: str, client: Any, tmp_path: Path) -> None:
    for key in ("a/b/1", "a/b/2/3", "a/b", "a/bc", "a/c"):
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    storage.remove(f"s3://{bucket}/a/b/")
    assert keys(client, bucket) == ["a/bc", "a/c"]
    storage.remove(f"s3://{bucket}/nothing")
    with pytest.raises(StorageError, match="names a folder where an object is needed"):
        storage.remove(f"s3://{bucket}")


def test_two_nodes_train_through_s3_and_leave_no_checkpoint(bucket: str, client: Any, tmp_path: Path) -> None:
    """What the pods of a TrainJob do when they share nothing but a bucket."""
    from e2e.test_many_nodes import start_nodes
    from linnet.stages import preprocess
    from linnet.tasks import training
    from support.tiny import tiny_raw_data, tiny_recipe

    recipe = tiny_recipe()
    preprocess.run(recipe.data, raw=tiny_raw_data(tmp_path / "raw"), out=tmp_path / "dataset", workers=1)
    url = f"s3://{bucket}/work/nodes-0"
    training.publish(recipe, tmp_path / "dataset", url)
    start_nodes(url, tmp_path, count=2)
    training.fetch(url, tmp_path / "model", job="linnet-train-0")
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
    while first.poll() is None and not [key for key in keys(client, bucket) if key.endswith("checkpoint.pt")]:
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
    assert [key for key in keys(client, bucket) if key.endswith("checkpoint.pt")]
