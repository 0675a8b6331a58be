"""Waiting for MLflow, where it or the database behind it is away.

The unit is a single HTTP request, or a single call of MLflow's store where a database is used without a server: what
was done before an outage is not done again after it. What makes something new is sent once, and looked for before it is
sent again (`create_once`), because the answer that is lost may have been "done".
"""

import contextlib
import functools
import inspect
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from linnet.patience import FIRST_WAIT_SECONDS, patience_seconds, wait_out
from linnet.tracking.failures import OUTAGES, UnansweredError, is_foreign, tracking_error

if TYPE_CHECKING:
    import requests

CREATES = frozenset({"create_run", "create_model_version", "create_logged_model"})  # twice makes two
CREATING_PATHS = r"/mlflow/(runs/create|model-versions/create|logged-models)$"

_longest: ContextVar[float] = ContextVar("longest", default=float("inf"))  # seconds
_given_up = False  # for an outage that has been waited for: until somebody answers, nothing waits again

T = TypeVar("T")


@contextlib.contextmanager
def waiting_at_most(seconds: float) -> Iterator[None]:
    """Inside, and in this thread, no request waits longer for a server that is away."""
    token = _longest.set(min(seconds, _longest.get()))
    try:
        yield
    finally:
        _longest.reset(token)


def waited(call: Callable[[], T]) -> T:
    """What `call` returns, which may be repeated as a whole while MLflow does not answer.

    Raises:
        Exception: of `call`, the last one, when the patience is used up or it is no outage.
    """
    global _given_up  # noqa: PLW0603  one server, one patience
    seconds = min(patience_seconds(), _longest.get())
    try:
        seconds_now = 0 if _given_up else seconds
        result = wait_out(call, outage=outage, seconds=seconds_now, first_wait_seconds=FIRST_WAIT_SECONDS)
    except Exception as error:
        _given_up = _given_up or (seconds == patience_seconds() and outage(error) is not None)
        raise
    _given_up = False
    return result


def create_once(find: Callable[[], T | None], create: Callable[[], T]) -> T:
    """What `find` finds, or else `create` makes, looked for again before each try."""

    def attempt() -> T:
        with waiting_at_most(0):
            found = find()
            return create() if found is None else found

    return waited(attempt)


def outage(error: Exception) -> str | None:
    """What does not answer, for people, if that is what `error` says."""
    if isinstance(error, _AwayError):
        return str(error)
    if is_foreign(error) or isinstance(error, OSError):
        error = tracking_error(error)
    return str(error).partition(" (")[0] if isinstance(error, UnansweredError) else None


class _AwayError(Exception):
    """A server answered, but only that it cannot."""

    def __init__(self, response: "requests.Response") -> None:
        parts = urlsplit(response.url)
        super().__init__(f"MLflow at {parts.scheme}://{parts.hostname}:{parts.port} answers {response.status_code}")
        self.response = response


@functools.cache
def make_requests_wait() -> None:
    """From now on each HTTP request of MLflow's in this process waits for its server, also an artifact's upload."""
    from mlflow.utils import request_utils, rest_utils

    users: tuple[Any, ...] = (request_utils, rest_utils)  # MLflow has no hook for this
    send = users[0]._get_http_response_with_retries

    @functools.wraps(send)
    def send_and_wait(method: str, url: str, max_retries: int, *arguments: Any, **options: Any) -> "requests.Response":
        is_create = method == "POST" and re.search(CREATING_PATHS, urlsplit(url).path) is not None

        def attempt() -> "requests.Response":
            body = options.get("data")
            if body is not None and hasattr(body, "seek"):  # a file, which an earlier try has read
                body.seek(0)
            response: requests.Response = send(method, url, 0 if is_create else max_retries, *arguments, **options)
            if response.status_code in OUTAGES and not is_create:
                raise _AwayError(response)
            return response

        if is_create:
            return attempt()
        try:
            return waited(attempt)
        except _AwayError as away:
            return away.response

    for module in users:
        module._get_http_response_with_retries = send_and_wait


def make_calls_wait(store: Any) -> None:
    """Let each public method of MLflow's store on a database wait, if it may be repeated."""
    if hasattr(store, "calls_wait"):
        return
    for name, _ in inspect.getmembers(type(store), inspect.isfunction):
        if not name.startswith("_") and name not in CREATES:
            setattr(store, name, _waiting(getattr(store, name)))
    store.calls_wait = True


def _waiting(method: Callable[..., T]) -> Callable[..., T]:
    @functools.wraps(method)
    def call(*arguments: Any, **options: Any) -> T:
        def attempt() -> T:
            with waiting_at_most(0):  # one method may call another
                return method(*arguments, **options)

        return waited(attempt)

    return call
