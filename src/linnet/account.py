"""A name and a place for caches, where the user has neither: `docker run --user 12345`, OpenShift, batch systems."""

import os
import pwd
from collections.abc import MutableMapping

NAME_VARIABLES = ("LOGNAME", "USER", "LNAME", "USERNAME")  # as getpass reads them


def complete_account(environment: MutableMapping[str, str], user_id: int) -> None:
    """Set what PyTorch, MLflow, DVC and Hugging Face ask the account for, where it has no answer.

    A user id without an entry in passwd gets the name `uid-12345`. Without a home folder that can be written (none, or
    the `/` of a container) caches go to a folder of this user beside other temporary files; a home that can be read
    stays the home, for the settings in it. What is set stays.
    """
    account = _account(user_id)
    if account is None and not any(environment.get(name) for name in NAME_VARIABLES):
        environment["LOGNAME"] = environment["USER"] = f"uid-{user_id}"
    home = environment.get("HOME") or (account.pw_dir if account else None)
    if home is not None and os.access(home, os.W_OK | os.X_OK):
        return
    wanted = [name for name in ("XDG_CACHE_HOME", "MPLCONFIGDIR") if not environment.get(name)]
    if home is None or wanted:
        try:
            place = _cache_folder(user_id)
        except OSError:  # no place at all: whoever needs one says so
            return
        if home is None:
            environment["HOME"] = place
        environment.update(dict.fromkeys(wanted, place))


def _account(user_id: int) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(user_id)
    except KeyError:
        return None


def _cache_folder(user_id: int) -> str:
    """A folder that belongs to this user alone; the same one each time, as far as nobody else took its name."""
    import tempfile  # seldom needed, and this module is imported whenever Python starts in .venv/

    place = os.path.join(tempfile.gettempdir(), f"linnet-{user_id}")  # noqa: PTH118  as above
    os.makedirs(place, mode=0o700, exist_ok=True)  # noqa: PTH103
    is_ours = os.lstat(place).st_uid == user_id and not os.path.islink(place)  # noqa: PTH114
    return place if is_ours else tempfile.mkdtemp(prefix=f"linnet-{user_id}-")
