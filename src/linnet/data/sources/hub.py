"""Data sets of the Hugging Face hub: found, fetched with resuming and checksums, and left in a cache for the layouts.

The hub's client finds, authenticates and transfers. But from its version 2 on it throws an unfinished file away when
the process ends, so here an unfinished file has a name of its own and the next run continues it.
"""

import contextlib
import hashlib
import io
import os
import re
import shutil
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from linnet.data.layouts.audio_folder import JSON_METADATA, METADATA
from linnet.data.layouts.gathering import arrange_published
from linnet.data.raw import RawDataError
from linnet.data.sources.download import DownloadError
from linnet.data.sources.published import AUDIOFOLDER, Published, read_published
from linnet.errors import first_line
from linnet.hashes import file_hash
from linnet.progress import ProgressBar
from linnet.recipe import Audio

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SCHEME = "hf:"
GRAMMAR = f"{SCHEME}OWNER/NAME@REVISION, {SCHEME}OWNER/NAME@REVISION#CONFIGURATION, and :SPLIT at the end of either"
README = "README.md"
CARDS = (README, ".huggingface.yaml")  # where a data set describes itself
PARALLEL = 4
MEGABYTE = 1_000_000
NAME = r"[A-Za-z0-9][\w.-]*"


@dataclass(frozen=True)
class Address:
    """A data set on the hub, as `--source` gives it."""

    repository: str  # OWNER/NAME
    revision: str  # a branch, tag or full commit
    config: str  # "": the default one
    split: str  # "": all

    def __str__(self) -> str:
        config, split = f"#{self.config}" if self.config else "", f":{self.split}" if self.split else ""
        return f"{SCHEME}{self.repository}@{self.revision}{config}{split}"


@dataclass(frozen=True)
class RemoteFile:
    """A file of a data set on the hub and what its bytes must hash to."""

    name: str
    size: int
    algorithm: str  # sha256, or git's own sha1 for small files
    digest: str


@dataclass(frozen=True)
class Snapshot:
    """The wanted files of one commit, below `folder`."""

    folder: Path
    published: Published
    chosen: Published


def parse(source: str) -> Address:
    """The address in `hf:OWNER/NAME@REVISION[#CONFIGURATION][:SPLIT]`.

    Raises:
        RawDataError: it is not one; the message teaches the grammar.
    """
    pattern = rf"({NAME}/{NAME})@([\w./-]+)(?:#([^#:@]+))?(?::(\w+(?:\.\w+)*))?"
    found = re.fullmatch(pattern, source.removeprefix(SCHEME))
    if found is not None:
        repository, revision, config, split = (group or "" for group in found.groups())
        return Address(repository, revision, config, split)
    if "@" not in source:
        raise RawDataError(
            f"--source {source}: no revision; give {GRAMMAR}. The revision is a commit, tag or branch (main): without "
            "it nobody could bring the same data again"
        )
    raise RawDataError(f"--source {source}: not understood; give {GRAMMAR}")


def commit_of(address: Address) -> str:
    """The full commit that the revision means now; a full commit is taken at its word.

    Raises:
        DownloadError: the hub does not answer, or has no such data set or revision, or not for everybody.
    """
    if re.fullmatch(r"[0-9a-f]{40}", address.revision):
        return address.revision
    from huggingface_hub import HfApi

    with _explained(address):
        commit = HfApi(endpoint=_endpoint()).dataset_info(address.repository, revision=address.revision).sha
    if commit is None or not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise DownloadError(f"--source {address}: {_endpoint()} names no commit for this revision; try a full commit")
    return commit


def download(address: Address, commit: str, cache: Path) -> Snapshot:
    """Fetch the files of the chosen configuration and splits into `cache`; what is there already is not fetched again.

    Raises:
        DownloadError: the hub does not answer, refuses, or sends damaged files; what has arrived is kept.
        RawDataError: no such configuration or split, or nothing there that can be read.
    """
    folder, names = cache / "files", cache / "names"
    files = {file.name: file for file in _listing(address, commit)}
    _fetch(address, commit, [files[name] for name in CARDS if name in files], folder)
    _write_names(files, folder, names)
    try:
        published = read_published(names, config=address.config)
        chosen = published.only(address.split)
    except RawDataError as reason:
        raise RawDataError(f"--source {address}: {str(reason).removeprefix(f'{names}: ')}") from None
    wanted = {name for group in chosen.splits.values() for name in group}
    if published.layout == AUDIOFOLDER:
        wanted |= {name for name in files if PurePosixPath(name).name in (METADATA, JSON_METADATA)}
    _fetch(address, commit, [file for file in files.values() if file.name in wanted], folder)
    return Snapshot(folder, published, chosen)


def write(snapshot: Snapshot, folder: Path, data: Audio) -> None:
    """Write the snapshot into the empty `folder` in the raw layout of audio. Raises RawDataError."""
    arrange_published(snapshot.folder, snapshot.published, snapshot.chosen, folder, data)


# --- the hub ----------------------------------------------------------------------------------------------------------


def _endpoint() -> str:
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")  # the client reads it when imported only


def _listing(address: Address, commit: str) -> list[RemoteFile]:
    from huggingface_hub import HfApi, RepoFile

    api = HfApi(endpoint=_endpoint())
    with _explained(address):
        entries = list(api.list_repo_tree(address.repository, recursive=True, revision=commit, repo_type="dataset"))
    files = []
    for entry in entries:
        if not isinstance(entry, RepoFile):
            continue
        if any(part in ("", ".", "..") for part in entry.path.split("/")) or "\0" in entry.path:
            raise DownloadError(f"--source {address}: file {entry.path!r} would land outside the folder")
        algorithm, digest = ("sha256", entry.lfs.sha256) if entry.lfs else ("git", entry.blob_id)
        files.append(RemoteFile(entry.path, entry.size, algorithm, digest))
    return files


def _write_names(files: Iterable[str], folder: Path, names: Path) -> None:
    """Empty files of all names, and the cards in full: enough to tell splits, and nothing has been fetched yet."""
    shutil.rmtree(names, ignore_errors=True)
    for name in files:
        (names / name).parent.mkdir(parents=True, exist_ok=True)
        if name not in CARDS:
            (names / name).touch()
        elif name != README or (folder / name).read_bytes().startswith(b"---"):  # one without settings is warned of
            shutil.copyfile(folder / name, names / name)


def _fetch(address: Address, commit: str, files: list[RemoteFile], folder: Path) -> None:
    missing = [file for file in files if not (folder / file.name).is_file()]
    if not missing:
        return
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars("huggingface_hub.http_get")  # the bar below tells
    total = sum(file.size for file in missing) // MEGABYTE
    with ProgressBar("ingest: megabytes", max(total, 1)) as bar, ThreadPoolExecutor(PARALLEL) as pool:
        count = _Count(bar)
        for _ in pool.map(lambda file: _fetch_file(address, commit, file, folder, count), missing):
            pass  # the first that fails ends it; those that have not begun are not begun


def _fetch_file(address: Address, commit: str, file: RemoteFile, folder: Path, count: "_Count") -> None:
    from huggingface_hub import get_token, hf_hub_url
    from huggingface_hub.file_download import http_get

    target = folder / file.name
    partial = target.with_name(f".{target.name}.part")  # hidden: never taken for a file of the data set
    target.parent.mkdir(parents=True, exist_ok=True)
    have = partial.stat().st_size if partial.exists() else 0
    if have > file.size:
        partial.unlink()
        have = 0
    count.add(have)
    url = hf_hub_url(address.repository, file.name, repo_type="dataset", revision=commit, endpoint=_endpoint())
    token = get_token()
    headers = {"Accept-Encoding": "identity"}  # part of a compressed file could not be continued
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    with _explained(address, kept=partial), io.BufferedWriter(_CountedFile(partial, count)) as stream:
        http_get(url, stream, resume_size=have, headers=headers, expected_size=file.size)
    if _digest(partial, file.algorithm) != file.digest:
        partial.unlink()
        raise DownloadError(
            f"--source {address}: {file.name} arrived damaged (its {file.algorithm} hash is not the published one) and "
            "was deleted; repeat the command"
        )
    partial.replace(target)


class _Count:
    """Bytes of all threads into whole megabytes of one bar."""

    def __init__(self, bar: ProgressBar) -> None:
        self._meter, self._bytes, self._lock = bar, 0, threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            before, self._bytes = self._bytes // MEGABYTE, self._bytes + count
            self._meter.advance(self._bytes // MEGABYTE - before)


class _CountedFile(io.FileIO):
    """A file that goes on at its end and counts what is written."""

    def __init__(self, path: Path, count: _Count) -> None:
        super().__init__(path, "ab")
        self._count = count

    def write(self, content: "ReadableBuffer", /) -> int:
        written = super().write(content)
        self._count.add(written)
        return written


def _digest(path: Path, algorithm: str) -> str:
    if algorithm == "sha256":
        return file_hash(path)
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)  # as git names a file
    with path.open("rb") as stream:
        while chunk := stream.read(MEGABYTE):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def _explained(address: Address, *, kept: Path | None = None) -> Iterator[None]:
    """The hub client's many errors as one sentence each."""
    import httpx2  # what the client raises where there is no answer at all
    from huggingface_hub import errors

    page = f"{_endpoint()}/datasets/{address.repository}"
    try:
        yield
    except errors.GatedRepoError:
        reason = f"this data set asks for consent: give it on {page}, then set HF_TOKEN to a token of that account"
    except errors.RepositoryNotFoundError:
        reason = (
            f"{page} is not there, or not for everybody: correct the name, or set HF_TOKEN to a token that may see it"
        )
    except errors.RevisionNotFoundError:
        reason = f"{page} has no revision {address.revision!r}; give a branch, a tag or a full commit"
    except errors.OfflineModeIsEnabled:
        reason = "HF_HUB_OFFLINE is set; unset it, or give a folder as the source"
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        advice = "it is in trouble, try again later" if status >= 500 or status == 429 else "is the address right?"
        reason = f"{_endpoint()} answers {status}; {advice}"
    except (httpx2.HTTPError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's
        reason = (
            f"no connection to {_endpoint()} ({type(error).__name__}: {first_line(error)}); repeat the command, or "
            f"fetch it elsewhere (hf download {address.repository} --repo-type dataset --revision {address.revision} "
            "--local-dir FOLDER) and give that folder as the source"
        )
    except ValueError as error:  # a login page where JSON should be
        reason = f"{_endpoint()} answers what makes no sense ({first_line(error)}); is a proxy in between?"
    else:
        return
    what_is_kept = (
        f". {kept.stat().st_size} bytes of {kept.name} are kept" if kept is not None and kept.exists() else ""
    )
    raise DownloadError(f"--source {address}: {reason}{what_is_kept}")
