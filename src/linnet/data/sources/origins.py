"""What a source of raw data is now, known without bringing it: the facts that source.json is going to say of it."""

from pathlib import Path
from typing import Any

from linnet.artifacts import Raw
from linnet.data.layouts.dispatch import layout_reader
from linnet.data.raw import RawDataError
from linnet.data.sources import caltech, dvc, hub
from linnet.data.synthetic import builtin
from linnet.data.synthetic.builtin import SYNTHETIC
from linnet.errors import redact_credentials
from linnet.hashes import file_hash
from linnet.recipe import Audio, CaltechLayout, DataSection, Images


def find_origin(data: DataSection, source: str) -> dict[str, Any]:
    """What source.json is going to say of `source`, which is not in S3.

    Raises:
        LinnetError: `source` is none, or is not there.
    """
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
            return facts_of(data, kind="huggingface", repository=address.repository, revision=commit, **chosen)
        case _ if source.startswith(dvc.SCHEME):
            at = dvc.parse(source)
            repository = redact_credentials(at.repository)
            return facts_of(data, kind="dvc", repository=repository, revision=dvc.commit_of(at))
        case _ if Path(source).is_dir():
            return facts_of(data, kind="folder", sha256=Raw.content_hash(Path(source)))
        case _ if Path(source).is_file():
            return facts_of(data, kind="archive", sha256=file_hash(Path(source)))
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


def facts_of(data: DataSection, **facts: str) -> dict[str, Any]:
    """What source.json says of a source: the facts about it, and the settings that change how it is written."""
    return {**facts, **layout_reader(data).settings}


def no_source(source: str) -> RawDataError:
    return RawDataError(
        f"--source {redact_credentials(source)}: no such file or folder; give '{SYNTHETIC}', '{caltech.NAME}', an "
        f"archive, a folder, s3://BUCKET/ARCHIVE, s3://BUCKET/FOLDER/, {dvc.SCHEME}REPOSITORY@REVISION or "
        f"{hub.SCHEME}OWNER/NAME@REVISION"
    )
