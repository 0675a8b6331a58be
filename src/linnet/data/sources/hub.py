"""Data sets of the Hugging Face hub: resolved to a commit, downloaded into a cache, verified, and left for the layouts.

huggingface_hub does the transfer. It keeps whole files for the next run and begins an unfinished one again; it checks
sizes only, so the published hashes are compared here.
"""

import contextlib
import glob
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from linnet.data.layouts.audio_conversion import convert_published
from linnet.data.layouts.metadata import JSON_METADATA, METADATA
from linnet.data.layouts.published import AUDIOFOLDER, Published, read_published
from linnet.data.raw import RawDataError
from linnet.data.sources.download import DownloadError
from linnet.errors import first_line
from linnet.progress import MegabyteBar
from linnet.recipe import Audio

SCHEME = "hf:"
GRAMMAR = f"{SCHEME}OWNER/NAME@REVISION, {SCHEME}OWNER/NAME@REVISION#CONFIGURATION, and :SPLIT at the end of either"
README = "README.md"
CARDS = {README, ".huggingface.yaml"}  # where a data set describes itself
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
class Snapshot:
    """The files of one commit that an address chooses, below `folder`."""

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
            "it nobody could download the same data again"
        )
    raise RawDataError(f"--source {source}: not understood; give {GRAMMAR}")


def commit_of(address: Address) -> str:
    """The full commit that the revision means now; a full commit is taken at its word.

    Raises:
        DownloadError: the hub does not respond, or has no such data set or revision, or not for everybody.
    """
    if re.fullmatch(r"[0-9a-f]{40}", address.revision):
        return address.revision
    from huggingface_hub import HfApi

    with _one_sentence(address):
        commit = HfApi(endpoint=_endpoint()).dataset_info(address.repository, revision=address.revision).sha
    if commit is None or not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise DownloadError(f"--source {address}: {_endpoint()} names no commit for this revision; try a full commit")
    return commit


def download(address: Address, commit: str, cache: Path) -> Snapshot:
    """Download the files of the chosen configuration and splits into `cache`, except those that are there already.

    Raises:
        DownloadError: the hub does not respond, refuses, or sends damaged files; whole files are kept.
        RawDataError: there is no such configuration or split, or nothing that can be read.
    """
    folder, names = cache / "files", cache / "names"
    sizes = _file_sizes(address, commit)
    _download_files(address, commit, CARDS & sizes.keys(), sizes, folder)
    _write_names(sizes, folder, names)
    try:
        published = read_published(names, config=address.config)
        chosen = published.only(address.split)
    except RawDataError as error:
        raise RawDataError(f"--source {address}: {str(error).removeprefix(f'{names}: ')}") from None
    files = {name for group in chosen.splits.values() for name in group}
    if published.layout == AUDIOFOLDER:
        files |= {name for name in sizes if PurePosixPath(name).name in (METADATA, JSON_METADATA)}
    _download_files(address, commit, files, sizes, folder)
    return Snapshot(folder, published, chosen)


def write(snapshot: Snapshot, folder: Path, data: Audio) -> None:
    """Write the snapshot into the empty `folder` in the raw layout of audio. Raises RawDataError."""
    convert_published(snapshot.folder, snapshot.published, snapshot.chosen, folder, data)


def _endpoint() -> str:
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")  # the client reads it when imported only


def _file_sizes(address: Address, commit: str) -> dict[str, int]:
    """The size in bytes of every file in the repository, by its name."""
    from huggingface_hub import HfApi, RepoFile

    api = HfApi(endpoint=_endpoint())
    with _one_sentence(address):
        entries = list(api.list_repo_tree(address.repository, recursive=True, revision=commit, repo_type="dataset"))
    sizes = {entry.path: entry.size for entry in entries if isinstance(entry, RepoFile)}
    for name in sizes:
        if any(part in ("", ".", "..") for part in name.split("/")) or "\0" in name:
            raise DownloadError(f"--source {address}: file {name!r} would land outside the folder")
    return sizes


def _write_names(files: Mapping[str, int], folder: Path, names: Path) -> None:
    """Write empty files of all names, and the cards in full: enough to find the splits before any data is there."""
    shutil.rmtree(names, ignore_errors=True)
    for name in files:
        (names / name).parent.mkdir(parents=True, exist_ok=True)
        if name not in CARDS:
            (names / name).touch()
        elif name != README or (folder / name).read_bytes().startswith(b"---"):  # `datasets` warns of one without
            shutil.copyfile(folder / name, names / name)


def _download_files(address: Address, commit: str, files: set[str], sizes: Mapping[str, int], folder: Path) -> None:
    """Download those of `files` that are missing in `folder`, and compare all with the published hashes."""
    from huggingface_hub import HfApi

    if not files:
        return
    for unfinished in folder.rglob("*.incomplete"):  # of a killed run: the client never continues it
        unfinished.unlink()
    missing = [name for name in files if not (folder / name).is_file()]
    others = [name for name in sizes if name not in files]
    is_few = len(missing) < len(others)  # every pattern is compared with every name
    where: dict[str, Any] = {"repo_type": "dataset", "revision": commit, "local_dir": folder}
    api = HfApi(endpoint=_endpoint())
    with _one_sentence(address):
        if missing:
            with MegabyteBar("ingest", sum(sizes[name] for name in missing)) as bar:
                api.snapshot_download(
                    address.repository,
                    **where,
                    allow_patterns=[glob.escape(name) for name in missing] if is_few else None,
                    ignore_patterns=None if is_few else [glob.escape(name) for name in others],
                    tqdm_class=_forwarding_to(bar),
                )
        damaged = api.verify_repo_checksums(address.repository, **where).mismatches
    for mismatch in damaged:
        (folder / mismatch["path"]).unlink()
    if damaged:
        raise DownloadError(
            f"--source {address}: {damaged[0]['path']} arrived damaged (its {damaged[0]['algorithm']} hash is not the "
            "published one) and was deleted; repeat the command"
        )


def _forwarding_to(bar: MegabyteBar) -> type[Any]:
    """The class of bars for `snapshot_download`: silent ones, of which the one for bytes written advances `bar`."""
    from huggingface_hub.utils.tqdm import tqdm

    class Forwarding(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            self.counts_bytes = options.get("name") == "huggingface_hub.snapshot_download"  # others: received, files
            super().__init__(*args, **options | {"disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            if self.counts_bytes:
                bar.advance(int(n or 0))

    return Forwarding


@contextlib.contextmanager
def _one_sentence(address: Address) -> Iterator[None]:
    """The hub client's many errors as a DownloadError of one sentence each; those of the disk pass."""
    import httpx2  # what the client raises where nothing responds
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        yield
    except (httpx2.HTTPError, OSError, ValueError, RuntimeError) as error:  # RuntimeError: of Xet, HF's faster transfer
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else error  # it wraps what is no file's
        if isinstance(cause, OSError) and cause.errno is not None:
            raise
        raise DownloadError(f"--source {address}: {_cause(address, cause or error)}") from None


def _cause(address: Address, error: BaseException) -> str:
    """What happened and what to do now, as the rest of a sentence."""
    from huggingface_hub import errors

    page = f"{_endpoint()}/datasets/{address.repository}"
    match error:
        case errors.GatedRepoError():
            cause = f"this data set asks for consent: give it on {page}, then set HF_TOKEN to a token of that account"
        case errors.RepositoryNotFoundError():
            advice = "correct the name, or set HF_TOKEN to a token that may see it"
            cause = f"{page} is not there, or not for everybody: {advice}"
        case errors.RevisionNotFoundError():
            cause = f"{page} has no revision {address.revision!r}; give a branch, a tag or a full commit"
        case errors.OfflineModeIsEnabled():
            cause = "HF_HUB_OFFLINE is set; unset it, or give a folder as the source"
        case errors.HfHubHTTPError():
            status = error.response.status_code
            advice = "it is in trouble, try again later" if status >= 500 or status == 429 else "is the address right?"
            cause = f"{_endpoint()} answers {status}; {advice}"
        case ValueError():  # a login page where JSON should be
            cause = f"{_endpoint()} answers what makes no sense ({first_line(error)}); is a proxy in between?"
        case _:
            cause = (
                f"no connection to {_endpoint()} ({type(error).__name__}: {first_line(error)}); repeat the command, or "
                f"download it elsewhere (hf download {address.repository} --repo-type dataset --revision "
                f"{address.revision} --local-dir FOLDER) and give that folder as the source"
            )
    return cause
