"""storage without a server: addresses, folders of this machine, and what is said when S3 cannot be used."""

import multiprocessing
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from linnet import storage
from linnet.storage import StorageError
from linnet.storage.transfers import one_at_a_time

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", NOWHERE)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "something")


def test_addresses() -> None:
    assert storage.is_remote("s3://bucket/folder")
    assert not storage.is_remote("build/s3")
    assert storage.join("s3://bucket/folder/", "a", "b.txt") == "s3://bucket/folder/a/b.txt"
    assert storage.join("s3://bucket", "a") == "s3://bucket/a"
    assert storage.join("build", "a", "b.txt") == "build/a/b.txt"


@pytest.mark.parametrize("url", ["/local/file", "s3://", "s3:///key", "s3://bucket name/key", "https://bucket/key"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(StorageError, match=r"is no address in S3; give s3://BUCKET/FOLDER"):
        storage.exists(url)


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/", "s3://bucket/folder/"])
def test_a_folder_is_no_object(url: str, tmp_path: Path) -> None:
    for use in (storage.exists, lambda url: storage.download_file(url, tmp_path / "x")):
        with pytest.raises(StorageError, match="names a folder where an object is wanted"):
            use(url)


Use = Callable[[str, Path], object]
USES: dict[str, Use] = {
    "check": lambda url, folder: storage.check_access(url, write=True),
    "exists": lambda url, folder: storage.exists(url),
    "is_complete": lambda url, folder: storage.is_complete(url),
    "version": lambda url, folder: storage.version(url),
    "download_file": lambda url, folder: storage.download_file(url, folder / "new" / "file"),
    "download_folder": lambda url, folder: storage.download_folder(url, folder / "new" / "folder"),
    "upload_file": lambda url, folder: storage.upload_file(folder / "there" / "file", url),
    "upload_folder": lambda url, folder: storage.upload_folder(folder / "there", url),
}


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("use", USES)
def test_an_endpoint_that_is_not_there_is_one_sentence(use: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("content")
    before = sorted(tmp_path.rglob("*"))
    started = time.monotonic()
    with pytest.raises(StorageError) as caught:
        USES[use]("s3://bucket/folder/object", tmp_path)
    assert time.monotonic() - started < 10
    assert str(caught.value) == (
        f"s3://bucket/folder/object: no connection to {NOWHERE}; is it running, and is the address right "
        "(AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL)?"
    ).replace("object:", "object/provenance.json:" if use == "is_complete" else "object:")
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != "new"] == before


@pytest.mark.usefixtures("keys")
def test_a_password_in_the_endpoint_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://user:secret@127.0.0.1:1")
    with pytest.raises(StorageError, match=r"no connection to http://127\.0\.0\.1:1;") as caught:
        storage.check_access("s3://bucket", write=False)
    assert "secret" not in str(caught.value)


@pytest.mark.usefixtures("keys")
def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(StorageError, match="does not answer in time; try again, or check the network"):
            storage.check_access("s3://bucket", write=False)
        assert 4 < time.monotonic() - started < 12


@pytest.mark.usefixtures("keys")
def test_an_endpoint_that_is_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "127.0.0.1:9000")
    with pytest.raises(StorageError, match=r"set up wrongly: Invalid endpoint: 127.*; correct AWS_ENDPOINT_URL_S3 or"):
        storage.check_access("s3://bucket", write=False)


@pytest.mark.parametrize("given", [None, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_missing_credentials(given: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if given is not None:
        monkeypatch.setenv(given, "half")
    with pytest.raises(StorageError) as caught:
        storage.check_access("s3://bucket", write=False)
    assert str(caught.value) == (
        "s3://bucket: there are no whole credentials for S3; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (on a "
        "cluster: the secret they come from)"
    )


def test_a_profile_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "absent")
    with pytest.raises(StorageError, match=r"^s3://bucket: The config profile \(absent\) could not be found; check"):
        storage.check_access("s3://bucket", write=False)


def test_what_cannot_be_uploaded(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="absent: no such file, so nothing can go to s3://bucket/file"):
        storage.upload_file(tmp_path / "absent", "s3://bucket/file")
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(StorageError, match="holds no files, so nothing can go to s3://bucket/folder"):
            storage.upload_folder(folder, "s3://bucket/folder")
    (tmp_path / "file").write_text("content")
    with pytest.raises(StorageError, match="give a folder below the bucket, such as s3://bucket/"):
        storage.upload_folder(tmp_path, "s3://bucket/")  # would delete the rest of the bucket
    (tmp_path / "provenance.json").write_text('{"content_hash": "of other content"}')
    with pytest.raises(StorageError, match=r"is not what its provenance\.json says"):
        storage.upload_folder(tmp_path, "s3://bucket/folder")
    (tmp_path / "provenance.json").write_text("{damaged")
    with pytest.raises(StorageError, match=r"its provenance\.json is damaged"):
        storage.upload_folder(tmp_path, "s3://bucket/folder")


def test_local_folders(tmp_path: Path) -> None:
    storage.check_access(str(tmp_path), write=True)
    storage.check_access(str(tmp_path), write=False)
    storage.check_access(str(tmp_path / "can" / "be" / "made"), write=True)
    assert list(tmp_path.iterdir()) == []  # a check leaves nothing
    with pytest.raises(StorageError, match=r"absent cannot be read \(.*: No such file or directory\); give a folder"):
        storage.check_access(str(tmp_path / "absent"), write=False)
    (tmp_path / "file").write_text("")
    for write in (True, False):
        with pytest.raises(StorageError, match=r"file cannot be \w+ \(.*file: Not a directory\)"):
            storage.check_access(str(tmp_path / "file"), write=write)
    with pytest.raises(StorageError, match=r"below cannot be written \(.*file: Not a directory\)"):
        storage.check_access(str(tmp_path / "file" / "below"), write=True)


def test_a_folder_that_even_root_cannot_write() -> None:
    """/proc refuses new files whoever asks."""
    with pytest.raises(StorageError, match=r"^/proc/new cannot be written \(/proc: .*\); give a folder that can"):
        storage.check_access("/proc/new", write=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(StorageError, match=r"cannot be written .*Permission denied"):
        storage.check_access(str(tmp_path), write=True)
    tmp_path.chmod(0o755)


def _append_alone(path: Path, rounds: int) -> None:
    for _ in range(rounds):
        with one_at_a_time(path):
            before = path.read_text()
            time.sleep(0.001)
            path.write_text(before + "x")  # loses the other's letter if two are here


def test_the_lock_keeps_processes_apart_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "letters"
    path.write_text("")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append_alone, args=(path, 25)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert path.read_text() == "x" * 100
    assert list(tmp_path.iterdir()) == [path]


def test_boto3_is_imported_only_where_it_is_used() -> None:
    code = "import sys, linnet.storage; print([m for m in ('boto3', 'botocore', 's3transfer') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
