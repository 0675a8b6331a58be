"""One process at a time changes what a registered model holds, on whatever machine it runs.

MLflow has no locks. A registered model of a unique name is what its store makes atomically, so that is the lock:
`<name>.lock`, there for about a second. One whose holder died is removed by who has seen it long enough.
"""

import contextlib
import random
import secrets
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from linnet.progress import log

if TYPE_CHECKING:
    from mlflow import MlflowClient

SUFFIX = ".lock"
HOLDER = "linnet.lock.holder"  # its tag
EXPIRES_SECONDS = 60.0  # twice the longest wait in an outage, after which a holder that lives goes on
POLL_SECONDS = (0.1, 0.5)


@contextlib.contextmanager
def model_lock(client: "MlflowClient", name: str, *, expires_seconds: float = EXPIRES_SECONDS) -> Iterator[None]:
    """Nobody else is in such a block about the registered model `name`.

    Args:
        expires_seconds: how long a lock must be seen in the same hands, by a server that answers, before it is taken
            for one of a process that died. No clock of another machine is asked.
    """
    lock, holder = f"{name}{SUFFIX}", secrets.token_hex(8)
    _acquire(client, lock, holder, expires_seconds)
    try:
        yield
    finally:
        if _holder(client, lock) == holder:
            _remove(client, lock)


def is_lock(name: str) -> bool:
    """Whether a registered model of this name is a lock of ours."""
    return name.endswith(SUFFIX)


def _acquire(client: "MlflowClient", lock: str, holder: str, expires_seconds: float) -> None:
    seen, since, began = None, 0.0, time.monotonic()
    while not _try(client, lock, holder):
        current, now = _holder(client, lock), time.monotonic()
        if current == holder:  # it was made, and the answer was lost
            return
        if current != seen or now - began > expires_seconds / 4:  # after an outage the holder needs its time
            seen, since = current, now
        elif current is not None and now - since > expires_seconds:
            log(f"the lock {lock} has not moved for {expires_seconds:.0f} s: its holder is taken for dead")
            _remove(client, lock)
            seen = None
        time.sleep(random.uniform(*POLL_SECONDS))  # noqa: S311  no secret
        began = time.monotonic()


def _try(client: "MlflowClient", lock: str, holder: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(lock, tags={HOLDER: holder}, description="Held for a moment by linnet")
    except MlflowException as error:
        # The second is said where it was released while the store looked for what is in the way.
        if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
            raise
        return False
    return True


def _holder(client: "MlflowClient", lock: str) -> str | None:
    from mlflow.exceptions import MlflowException

    try:
        return dict(client.get_registered_model(lock).tags).get(HOLDER)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    return None


def _remove(client: "MlflowClient", lock: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.delete_registered_model(lock)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
