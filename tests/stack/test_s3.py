"""Against a real S3 server: AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY say which."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linnet import storage
from linnet.files import PROVENANCE
from linnet.storage import StorageError
from linnet.storage.connection import new_client
from linnet.storage.listing import PROBE, get_object
from linnet.storage.transfers import download_objects
from support import workers
from support.s3 import contents, entries, finish, keys

ENDPOINT = os.environ.get("AWS_ENDPOINT_URL_S3", "")
pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(not ENDPOINT, reason="AWS_ENDPOINT_URL_S3 names no S3 server"),
]


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
            (made / "weights").write_bytes(os.urandom((made / "weights").stat().st_size))
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


def test_idle_folders_by_the_newest_of_their_objects(bucket: str, made: Path) -> None:
    storage.upload_file(made / "empty", f"s3://{bucket}/work/nodes-a/dataset/one")
    time.sleep(2)
    for key in ("work/nodes-a/model/two", "work/nodes-file", "work/birds/three", "nodes-b/four"):
        storage.upload_file(made / "empty", f"s3://{bucket}/{key}")
    idle = storage.idle_seconds(f"s3://{bucket}/work", prefix="nodes-")
    assert idle.keys() == {"nodes-a"}
    assert idle["nodes-a"] < 2
    assert storage.idle_seconds(f"s3://{bucket}/nothing", prefix="nodes-") == {}


def test_remove_takes_a_folder_an_object_and_nothing_else(bucket: str, client: Any, tmp_path: Path) -> None:
    for key in ("a/b/1", "a/b/2/3", "a/b", "a/bc", "a/c"):
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    storage.remove(f"s3://{bucket}/a/b/")
    assert keys(client, bucket) == ["a/bc", "a/c"]
    storage.remove(f"s3://{bucket}/nothing")
    with pytest.raises(StorageError, match="names a folder where an object is needed"):
        storage.remove(f"s3://{bucket}")
