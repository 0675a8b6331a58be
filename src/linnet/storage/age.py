"""How long ago something in a folder changed, so that what nobody came back for can be removed."""

import time
from pathlib import Path

from linnet.storage.connection import new_client
from linnet.storage.listing import list_entries
from linnet.storage.location import is_s3_url, split_folder_url


def idle_seconds(location: str, *, prefix: str) -> dict[str, float]:
    """For each folder in `location` whose name begins with `prefix`: the seconds since anything in it changed.

    Args:
        location: an s3:// URL or a local folder, which need not exist.

    Raises:
        StorageError: the server does not answer, or refuses.
    """
    newest: dict[str, float] = {}
    for name, changed in _changes_in_s3(location, prefix) if is_s3_url(location) else _changes(Path(location), prefix):
        newest[name] = max(changed, newest.get(name, 0.0))
    return {name: time.time() - changed for name, changed in newest.items()}


def _changes_in_s3(url: str, prefix: str) -> list[tuple[str, float]]:
    bucket, folder = split_folder_url(url)
    with new_client(url) as client:
        entries = list(list_entries(client, bucket, folder + prefix))
    found = [(entry["Key"].removeprefix(folder).partition("/"), entry["LastModified"]) for entry in entries]
    return [(name, changed.timestamp()) for (name, slash, _), changed in found if slash]


def _changes(folder: Path, prefix: str) -> list[tuple[str, float]]:
    found = [path for path in folder.glob(f"{prefix}*") if path.is_dir()]
    return [(top.name, path.stat().st_mtime) for top in found for path in [top, *top.rglob("*")]]
