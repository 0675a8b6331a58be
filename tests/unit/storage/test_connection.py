"""Every use of an S3 server that cannot be used is one sentence, soon."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from linnet import storage
from linnet.storage import StorageError

NOWHERE = "http://127.0.0.1:1"  # the endpoint of conftest.py

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
def test_a_password_in_the_endpoint_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_boto3_is_imported_only_where_it_is_used() -> None:
    code = "import sys, linnet.storage; print([m for m in ('boto3', 'botocore', 's3transfer') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
