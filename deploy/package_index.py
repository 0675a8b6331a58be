"""pip's settings as uv's: shell commands for `eval`, so that all of set-up asks the index that this machine has.

Companies give pip their mirror, certificates and proxy (PIP_INDEX_URL, pip.conf); uv reads none of these. What is set
for uv itself stays, in its variables and in its uv.toml. With --image: for RUN in the Dockerfile, where no path of this
machine means anything, and pip too needs its index.
"""

import ast
import os
import re
import shlex
import ssl
import subprocess
import sys
import tomllib
from pathlib import Path

PLACES = ("global", "install", ":env:")  # where pip has a setting from; the last wins
INDEX_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")
INDEX_KEYS = {"index", "index-url", "extra-index-url", "find-links", "no-index"}
CERTIFICATES = "/run/secrets/package_certificates"  # in an image


def pip_settings() -> dict[str, str]:
    """What pip itself has read, from its variables and all its files: name -> words, with a space between them."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found: dict[str, dict[str, str]] = {place: {} for place in PLACES}
    for line in done.stdout.splitlines():
        if match := re.fullmatch(r"(global|install|:env:)\.([\w-]+)=(.+)", line):
            place, name, value = match.groups()
            found[place][name.replace("_", "-")] = " ".join(str(ast.literal_eval(value)).split())
    return {name: value for place in PLACES for name, value in found[place].items() if value}


def uv_has_an_index() -> bool:
    """Whether the user told uv itself where packages are."""
    if any(os.environ.get(name) for name in INDEX_VARIABLES):
        return True
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111  without a home too
    files = [os.environ.get("UV_CONFIG_FILE") or f"{home}/uv/uv.toml", "/etc/xdg/uv/uv.toml", "/etc/uv/uv.toml"]
    tables = [tomllib.loads(Path(file).read_text(encoding="utf-8")) for file in files if Path(file).is_file()]
    return any(INDEX_KEYS & {*table, *table.get("pip", {})} for table in tables)


def uv_settings(pip: dict[str, str], *, image: bool) -> dict[str, str]:
    """The variables for uv that say the same."""
    settings = {"UV_HTTP_TIMEOUT": pip.get("timeout") or pip.get("default-timeout")}
    settings |= {"UV_INSECURE_HOST": pip.get("trusted-host"), "UV_KEYRING_PROVIDER": pip.get("keyring-provider")}
    settings |= {"HTTP_PROXY": pip.get("proxy"), "HTTPS_PROXY": pip.get("proxy")}
    if not uv_has_an_index():
        settings |= {"UV_DEFAULT_INDEX": pip.get("index-url"), "UV_INDEX": pip.get("extra-index-url")}
        if "extra-index-url" in pip:  # as pip: all indexes together; versions and hashes are the lock's anyway
            settings["UV_INDEX_STRATEGY"] = "unsafe-best-match"
        if not image:
            settings["UV_FIND_LINKS"] = ",".join(pip.get("find-links", "").split())
            settings["LINNET_UV_FLAGS"] = "--no-index" if pip.get("no-index", "0") in {"1", "true", "yes"} else None
    if not image:
        settings |= {"SSL_CERT_FILE": pip.get("cert"), "SSL_CLIENT_CERT": pip.get("client-cert")}
        if ssl.create_default_context().get_ca_certs() or ssl.get_default_verify_paths().cafile:
            settings["UV_SYSTEM_CERTS"] = "true"  # a company's own authority is known to the system, not to uv
    return {name: value for name, value in settings.items() if value and not os.environ.get(name)}


def pip_in_image(pip: dict[str, str]) -> dict[str, str]:
    """For an image: pip's own index, and what the environment has for uv."""
    names = ("index-url", "extra-index-url", "trusted-host", "proxy")
    settings = {f"PIP_{name.replace('-', '_').upper()}": pip[name] for name in names if name in pip}
    own = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX_STRATEGY")
    settings |= {name: os.environ[name] for name in own if os.environ.get(name)}
    if "cert" in pip or os.environ.get("SSL_CERT_FILE"):
        settings |= {"PIP_CERT": CERTIFICATES, "SSL_CERT_FILE": CERTIFICATES}
    return settings


def main() -> None:
    """Print an `export` a line."""
    image = "--image" in sys.argv[1:]
    pip = pip_settings()
    settings = uv_settings(pip, image=image) | (pip_in_image(pip) if image else {})
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL")
    if index and "index-url" not in pip:  # uv itself comes by pip
        settings["PIP_INDEX_URL"] = re.sub(r"^[\w-]+=", "", index)
    for name, value in settings.items():
        print(f"export {name}={shlex.quote(value)}")


main()
