"""DVC repositories as a source of raw data: `dvc:REPOSITORY@REVISION`, resolved by git and downloaded by dvc."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from linnet.data.raw import RawDataError
from linnet.data.sources.download import DownloadError
from linnet.errors import redact_credentials
from linnet.progress import log

SCHEME = "dvc:"


@dataclass(frozen=True)
class Address:
    """A revision of a DVC repository, as `--source` gives it."""

    repository: str  # a path, or an address that git understands; it may hold a password
    revision: str  # a branch, tag or commit

    def __str__(self) -> str:
        return redact_credentials(f"{SCHEME}{self.repository}@{self.revision}")


def parse(source: str) -> Address:
    """The address in `dvc:REPOSITORY@REVISION`. The `@` of git@host:path or https://user@host is the repository's.

    Raises:
        RawDataError: it is not one.
    """
    repository, _, revision = source.removeprefix(SCHEME).rpartition("@")
    is_user = ":" in revision or re.fullmatch(r"[^/]+://[^/]*", repository) is not None
    if not repository or not revision or is_user:
        raise RawDataError(
            f"--source {redact_credentials(source)}: no revision; give {SCHEME}REPOSITORY@REVISION with a commit, tag "
            "or branch"
        )
    if repository.startswith("-") or revision.startswith("-"):  # git and dvc would take it for an option
        raise RawDataError(f"--source {redact_credentials(source)}: neither repository nor revision can begin with '-'")
    return Address(repository, revision)


def commit_of(address: Address) -> str:
    """The full commit that the revision means now, so that source.json says the same for ever.

    Raises:
        RawDataError: the repository has no such tag or branch.
        DownloadError: git is missing or fails.
    """
    repository, revision = address.repository, address.revision
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    if Path(repository).exists():
        return _run(address, "git", "-C", repository, "rev-parse", "--verify", f"{revision}^{{commit}}").strip()
    lines = _run(address, "git", "ls-remote", "--", repository, revision, f"{revision}^{{}}").splitlines()
    commits = {name: commit for commit, name in (line.split("\t") for line in lines)}
    tag = f"refs/tags/{revision}"
    for name in (f"{tag}^{{}}", tag, f"refs/heads/{revision}", f"{revision}^{{}}", revision):  # git's own order
        if name in commits:
            return commits[name]
    raise RawDataError(
        f"--source {address}: the repository has no tag or branch {revision!r}; give one, or a full commit"
    )


def download(address: Address, commit: str, path_in_repository: str, out: Path) -> None:
    """Download what the repository has at `path_in_repository` in `commit` to `out`.

    Raises:
        DownloadError: dvc is missing or fails.
    """
    log(f"dvc get {redact_credentials(address.repository)} {path_in_repository} --rev {commit}")
    _run(address, "dvc", "get", address.repository, path_in_repository, "--rev", commit, "-o", str(out))


def _run(address: Address, program: str, *arguments: str) -> str:
    """The output of `program`. Raises DownloadError with the last useful line of its error messages."""
    beside_python = str(Path(sys.executable).parent)  # where pip puts dvc; not on the PATH without activation
    executable = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), beside_python]))
    if executable is None:
        remedy = "pip install 'dvc[s3]'" if program == "dvc" else "install git"
        raise DownloadError(f"--source {address}: needs the command `{program}`, which is not here; {remedy}")
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0", "DVC_NO_ANALYTICS": "1"}
    command = [executable, *arguments]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=environment)
    if result.returncode:
        lines = [line.strip() for line in result.stderr.decode(errors="replace").splitlines() if line.strip()]
        causes = [line for line in lines if line.startswith(("ERROR:", "fatal:"))] or lines or ["no reason given"]
        raise DownloadError(
            f"--source {address}: `{program}` failed ({redact_credentials(causes[-1])[:300]}); check the repository, "
            "the revision, and the access to both it and its DVC remote"
        )
    return result.stdout.decode()
