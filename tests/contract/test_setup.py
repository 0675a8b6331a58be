"""`make setup`: an environment that can be moved, and the package index of this machine."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.tiny import ROOT

COPIED = ("Makefile", "deploy", "pyproject.toml", "README.md", "LICENSE", ".gitignore")
CODE = "import linnet; print(linnet.__file__)"
OWN = ("PIP_", "UV_", "SSL_", "HTTP", "XDG_")


def run(*command: str | Path, folder: Path, status: int = 0, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHONPATH", "MAKE"))}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment | variables, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == status, done.stdout
    return done.stdout.strip()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A project whose lock is empty, with an environment as an earlier linnet left it: paths in scripts and in .pth."""
    folder, bin_folder = tmp_path / "work", Path(sys.executable).parent
    (folder / "src" / "linnet").mkdir(parents=True)
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    for name in ("__init__.py", "account.py"):
        shutil.copy(ROOT / "src" / "linnet" / name, folder / "src" / "linnet" / name)
    (folder / "src" / "linnet" / "__main__.py").write_text(f"def main():\n    {CODE}\n")
    (folder / "requirements.lock").touch()
    (folder / ".git").mkdir()
    run(sys.executable, "-m", "venv", "--without-pip", ".venv", folder=folder)
    (folder / ".venv" / "bin" / "uv").symlink_to(bin_folder / "uv")
    packages = next((folder / ".venv" / "lib").glob("python3*")) / "site-packages"
    (packages / "outer.pth").write_text(next(path for path in sys.path if path.endswith("site-packages")) + "\n")
    (packages / "_linnet.pth").write_text(f"{folder}/src\n")
    old = folder / ".venv" / "bin" / "old"
    old.write_text(f"#!{folder}/.venv/bin/python\n{CODE}\n")
    old.chmod(0o755)
    (folder / ".venv" / ".ready").touch()
    return folder


def runs_the_code_of(folder: Path) -> bool:
    own = f"{folder}/src/linnet/__init__.py"
    programs = [["linnet"], ["old"], ["python", "-c", CODE]]
    return all(run(folder / ".venv" / "bin" / name, *more, folder=folder) == own for name, *more in programs)


def test_a_workspace_is_moved_and_copied_with_its_environment(workspace: Path) -> None:
    run("make", "setup", folder=workspace)
    assert runs_the_code_of(workspace)
    assert "Nothing to be done" in run("make", "setup", folder=workspace)

    moved, copied = workspace.with_name("moved % here"), workspace.with_name("copy")
    workspace.rename(moved)
    run("cp", "-al", moved, copied, folder=moved)  # the hardest of copies: both have the same files
    assert runs_the_code_of(moved)
    assert runs_the_code_of(copied)
    for folder in (copied, moved):
        said = run("make", "setup", folder=folder)
        assert said.endswith(f".venv/ was made for {workspace}; it is made to fit {folder}")
        assert "Nothing to be done" in run("make", "setup", folder=folder)
    assert runs_the_code_of(moved)
    assert runs_the_code_of(copied)


def test_an_environment_that_another_workspace_uses_is_left_alone(workspace: Path) -> None:
    run("make", "setup", folder=workspace)
    other = workspace.with_name("other")
    shutil.copytree(workspace, other, ignore=shutil.ignore_patterns(".venv"))
    (other / ".venv").symlink_to(workspace / ".venv")
    said = run("make", "setup", folder=other, status=2)
    assert f"{other}/.venv is the environment of {workspace}, and runs its code" in said
    run("make", "setup", folder=other, PYTHONPATH=f"{other}/src")
    assert runs_the_code_of(workspace)


def test_an_environment_without_a_python_is_built_anew(workspace: Path) -> None:
    python = workspace / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/gone/python3")
    said = run("make", "setup", "PYTHON=false", folder=workspace, status=2)
    assert "no Python that runs here; it is built anew" in said
    assert "PYTHON=false is not Python 3.11 or newer" in said


def settings(folder: Path, *options: str, **variables: str) -> dict[str, str]:
    """What set-up gives uv on a machine with these variables and without files of settings for pip."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    environment |= {"HOME": str(folder), "PIP_CONFIG_FILE": os.devnull} | variables
    command = [sys.executable, str(ROOT / "deploy" / "package_index.py"), *options]
    text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    exports = [shlex.split(line)[1].partition("=") for line in text.splitlines()]
    return {name: value for name, _, value in exports if name != "UV_SYSTEM_CERTS"}


def test_the_index_of_pip_is_given_to_uv(tmp_path: Path) -> None:
    assert settings(tmp_path) == {}
    mirror = {"PIP_INDEX_URL": "https://mirror/simple", "PIP_CERT": "/ca.pem", "PIP_TRUSTED_HOST": "mirror"}
    given = {"UV_DEFAULT_INDEX": "https://mirror/simple", "SSL_CERT_FILE": "/ca.pem", "UV_INSECURE_HOST": "mirror"}
    assert settings(tmp_path, **mirror) == given
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://file/simple\nextra-index-url =\n    https://a/simple\n    https://b/simple\n"
        "no-index = true\nfind-links = /wheels\n"
    )
    file = {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    assert (
        settings(tmp_path, **file).items()
        >= {
            "UV_DEFAULT_INDEX": "https://file/simple",
            "UV_INDEX": "https://a/simple https://b/simple",
            "UV_INDEX_STRATEGY": "unsafe-best-match",
            "UV_FIND_LINKS": "/wheels",
            "LINNET_UV_FLAGS": "--no-index",
        }.items()
    )
    assert settings(tmp_path, **mirror, **file)["UV_DEFAULT_INDEX"] == "https://mirror/simple"


def test_what_uv_was_told_stays_and_brings_uv(tmp_path: Path) -> None:
    given = settings(tmp_path, UV_DEFAULT_INDEX="own=https://uv/simple")
    assert given == {"PIP_INDEX_URL": "https://uv/simple"}
    (tmp_path / ".config" / "uv").mkdir(parents=True)
    (tmp_path / ".config" / "uv" / "uv.toml").write_text('[[index]]\nurl = "https://uv/simple"\n')
    assert settings(tmp_path, PIP_INDEX_URL="https://mirror/simple") == {}


def test_an_image_gets_the_index_and_no_path_of_this_machine(tmp_path: Path) -> None:
    variables = {"PIP_INDEX_URL": "https://mirror/simple", "PIP_CERT": "/ca.pem", "PIP_FIND_LINKS": "/wheels"}
    secret = "/run/secrets/package_certificates"
    assert settings(tmp_path, "--image", **variables) == {
        "UV_DEFAULT_INDEX": "https://mirror/simple",
        "PIP_INDEX_URL": "https://mirror/simple",
        "PIP_CERT": secret,
        "SSL_CERT_FILE": secret,
    }
