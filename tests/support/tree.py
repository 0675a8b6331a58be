"""The files of the project itself."""

import subprocess

from support.tiny import ROOT


def project_files() -> list[str]:
    """Relative names of what git tracks; in an archive of the source, of everything outside of hidden folders."""
    if (ROOT / ".git").exists():
        return subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    ignored = {line.strip("/\n") for line in (ROOT / ".gitignore").read_text().splitlines()}
    found = [path for path in ROOT.iterdir() if path.name not in ignored and not path.name.startswith(".")]
    below = [path for folder in found for path in (folder.rglob("*") if folder.is_dir() else [folder])]
    return sorted(path.relative_to(ROOT).as_posix() for path in below if path.is_file())
