"""DVC repositories as a source of raw data: an address, the commit that it means, and the commands git and dvc."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from linnet.data.raw import RawDataError
from linnet.data.sources.download import DownloadError
from linnet.errors import redact_credentials

DVC = "dvc:"


def split_revision(source: str) -> tuple[str, str]:
    """Repository and revision. An `@` of git@host:path or https://user@host belongs to the repository."""
    repository, _, revision = source.removeprefix(DVC).rpartition("@")
    is_user = ":" in revision or re.fullmatch(r"[^/]+://[^/]*", repository) is not None
    if not repository or not revision or is_user:
        raise RawDataError(
            f"--source {redact_credentials(source)}: no revision; give {DVC}REPOSITORY@REVISION with a commit, tag or branch"
        )
    if repository.startswith("-") or revision.startswith("-"):  # git and dvc would take it for an option
        raise RawDataError(f"--source {redact_credentials(source)}: neither repository nor revision can begin with '-'")
    return repository, revision


def commit_of(source: str, repository: str, revision: str) -> str:
    """The full commit that `revision` means now, so that source.json says the same for ever."""
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    if Path(repository).exists():
        return call(source, "git", "-C", repository, "rev-parse", "--verify", f"{revision}^{{commit}}").strip()
    lines = call(source, "git", "ls-remote", "--", repository, revision, f"{revision}^{{}}").splitlines()
    found = {name: commit for commit, name in (line.split("\t") for line in lines)}
    tag = f"refs/tags/{revision}"
    for name in (f"{tag}^{{}}", tag, f"refs/heads/{revision}", f"{revision}^{{}}", revision):  # git's own order
        if name in found:
            return found[name]
    raise RawDataError(
        f"--source {redact_credentials(source)}: the repository has no tag or branch {revision!r}; give one, or a full commit"
    )


def call(source: str, program: str, *arguments: str) -> str:
    """What `program` prints. Raises DownloadError with the last useful line of what it complained about."""
    beside_python = str(Path(sys.executable).parent)  # where pip puts dvc; not on the PATH without activation
    path = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), beside_python]))
    if path is None:
        remedy = "pip install 'dvc[s3]'" if program == "dvc" else "install git"
        raise DownloadError(
            f"--source {redact_credentials(source)}: needs the command `{program}`, which is not here; {remedy}"
        )
    never_ask = os.environ | {"GIT_TERMINAL_PROMPT": "0", "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run([path, *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False, env=never_ask)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        useful = [line for line in lines if line.startswith(("ERROR:", "fatal:"))] or lines or ["no reason given"]
        raise DownloadError(
            f"--source {redact_credentials(source)}: `{program}` failed ({redact_credentials(useful[-1])[:300]}); check the repository, the "
            "revision, and the access to both it and its DVC remote"
        )
    return done.stdout.decode()
