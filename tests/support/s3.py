"""What lies in buckets and folders."""

from pathlib import Path
from typing import Any

from linnet.files import PROVENANCE, write_json
from linnet.hashes import folder_hash


def entries(client: Any, bucket: str, prefix: str = "") -> list[dict[str, Any]]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [entry for page in pages for entry in page.get("Contents", ())]


def keys(client: Any, bucket: str, prefix: str = "") -> list[str]:
    return [entry["Key"] for entry in entries(client, bucket, prefix)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def finish(folder: Path) -> None:
    """Write the provenance that a stage writes last."""
    write_json(folder / PROVENANCE, {"stage": "train", "content_hash": folder_hash(folder)})
