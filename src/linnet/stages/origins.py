"""What a source of raw data is now, known without bringing it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linnet import storage
from linnet.artifacts import Raw
from linnet.data.layouts.dispatch import layout_reader
from linnet.data.raw import RawDataError
from linnet.data.sources import caltech, dvc, hub
from linnet.data.synthetic import builtin
from linnet.data.synthetic.builtin import SYNTHETIC
from linnet.errors import redact_credentials
from linnet.files import read_json
from linnet.hashes import file_hash
from linnet.recipe import Audio, CaltechLayout, DataSection, Images


def fingerprint(data: DataSection, source: str) -> str:
    """The sha256 of what `source` is now, without bringing it: equal ones mean equal raw data.

    It comes from the hub's or DVC's commit, S3's names, sizes and ETags, the archive's published md5 or the file's own
    sha256, the version of the built-in set, and the settings that change how raw data is written.

    Raises:
        LinnetError: `source` is none, or is not there.
    """
    return _hash(find_origin(data, source))


def fingerprint_of(raw: Path) -> str:
    """The fingerprint of the source that the folder `raw` was made from."""
    origin = read_json(raw / Raw.source, made_by="ingest")
    return _hash({key: fact for key, fact in origin.items() if key != "content_hash"})


def _hash(origin: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()


def find_origin(data: DataSection, source: str) -> dict[str, Any]:
    """What source.json is going to say of `source`. Raises as `fingerprint` does."""
    match source:
        case "synthetic":
            return builtin.origin_of(data)
        case "caltech":
            _check_caltech(data)
            return {"kind": "archive", "md5": caltech.MD5}
        case _ if source.startswith(hub.SCHEME):
            _check_hub(source, data)
            address = hub.parse(source)
            commit, chosen = hub.commit_of(address), {"config": address.config, "split": address.split}
            return _origin(data, kind="huggingface", repository=address.repository, revision=commit, **chosen)
        case _ if storage.is_s3_url(source):
            kind = "s3 folder" if source.endswith("/") else "s3 archive"
            return _origin(data, kind=kind, url=source, version=storage.version(source))
        case _ if source.startswith(dvc.SCHEME):
            at = dvc.parse(source)
            repository = redact_credentials(at.repository)
            return _origin(data, kind="dvc", repository=repository, revision=dvc.commit_of(at))
        case _ if Path(source).is_dir():
            return _origin(data, kind="folder", sha256=Raw.content_hash(Path(source)))
        case _ if Path(source).is_file():
            return _origin(data, kind="archive", sha256=file_hash(Path(source)))
        case _:
            raise no_source(source)


def _check_caltech(data: DataSection) -> None:
    if not isinstance(data, Images) or not isinstance(data.layout, CaltechLayout):
        other, advice = f"kind is {data.kind!r}", f"give '{SYNTHETIC}', {hub.GRAMMAR}, a folder or an archive"
        if isinstance(data, Images):
            other, advice = f"layout is {data.layout.kind!r}", "give a folder or an archive, or change data.layout"
        raise RawDataError(f"--source {caltech.NAME} brings images of birds, and the recipe's data.{other}; {advice}")


def _check_hub(source: str, data: DataSection) -> None:
    if not isinstance(data, Audio):
        raise RawDataError(
            f"--source {source} brings audio, and the recipe's data.kind is {data.kind!r}; give '{SYNTHETIC}', "
            f"'{caltech.NAME}', a folder or an archive"
        )


def _origin(data: DataSection, **facts: str) -> dict[str, Any]:
    """What source.json says of a source: the facts about it, and the settings that change how it is written."""
    return {**facts, **layout_reader(data).settings}


def no_source(source: str) -> RawDataError:
    return RawDataError(
        f"--source {redact_credentials(source)}: no such file or folder; give '{SYNTHETIC}', '{caltech.NAME}', an "
        f"archive, a folder, s3://BUCKET/ARCHIVE, s3://BUCKET/FOLDER/, {dvc.SCHEME}REPOSITORY@REVISION or "
        f"{hub.SCHEME}OWNER/NAME@REVISION"
    )
