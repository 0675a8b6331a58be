"""A bucket of a real S3 server, and a folder as a stage leaves it."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.s3 import finish, keys

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
