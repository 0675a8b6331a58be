"""What MLflow, its database and its artifact store raise, as one sentence that says what to do."""

import contextlib
import re
from collections.abc import Iterator

from linnet.errors import FULL_DATABASE, REMEDIES, LinnetError, first_line
from linnet.tracking.address import display_uri, local_database, tracking_uri

# Packages whose errors are the server's, not ours: of MLflow, of databases, and of where artifacts are kept.
FOREIGN = {
    *("mlflow", "sqlalchemy", "alembic", "sqlite3", "psycopg", "requests", "urllib3"),
    *("boto3", "botocore", "s3transfer", "google", "azure"),
}
WRONG_NAME = r"error code 40[45]\b|error code 501\b|valid JSON|database .* does not exist|[Uu]nknown database"
UNANSWERED = r"failed with .*exception|error code (408|429|5\d\d)\b|OperationalError|timed? ?out|refused"
UNSAFE = r"SSLError|CERTIFICATE_VERIFY"  # waiting helps none
DAMAGED = r"malformed|not a database|no such (table|column)|disk I/O"


OUTAGES = frozenset({408, 429, 500, 502, 503, 504})  # HTTP statuses of a server that may answer again


class TrackingError(LinnetError):
    """MLflow does not answer, does not let us in, or cannot take what it is to be given."""


class UnansweredError(TrackingError):
    """MLflow, or the database behind it, does not answer; it may do so later."""


@contextlib.contextmanager
def server_errors() -> Iterator[None]:
    """Whatever MLflow and what it stands on raise inside becomes one sentence.

    Raises:
        TrackingError: with cause and remedy.
        OSError: a disk of this machine is full, or may not be written; it names the path itself.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in REMEDIES and error.filename is not None:
            raise
        if isinstance(error, OSError) or is_foreign(error):
            raise tracking_error(error) from None
        raise


def tracking_error(error: Exception) -> TrackingError:
    """The sentence about an error of MLflow's."""
    message = first_line(error)
    if refusal := _refusal(message):
        return TrackingError(f"MLflow at {display_uri()}: {refusal}")
    at = f"MLflow at {display_uri()}:"
    is_file = local_database(tracking_uri()) is not None
    if is_file and "locked" in message:
        return UnansweredError(f"{at} is locked by another program ({message}); wait for it, or stop it, then repeat")
    if isinstance(error, OSError) or re.search(UNANSWERED, message) or _is_unanswered(error, message):
        kind = UnansweredError if _is_unanswered(error, message) and not is_file else TrackingError
        return kind(
            f"{at} does not answer ({message}); check MLFLOW_TRACKING_URI and that the server runs, then repeat"
        )
    advice = "put right what it names, or set MLFLOW_TRACKING_URI to another server, then repeat"
    return TrackingError(f"{at} refuses ({message}); {advice}")


def is_foreign(error: Exception) -> bool:
    return any(kind.__module__.partition(".")[0] in FOREIGN for kind in type(error).__mro__)


def _refusal(message: str) -> str | None:
    """What is wrong and to be put right before a repeat; None where waiting may help, or nothing is known."""
    if re.search(r"error code 40[13]\b|password|authentication|[Aa]ccess denied", message):
        return (
            f"refuses us ({message}); set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, on a cluster by the "
            "secret linnet-mlflow; a database's user and password are in MLFLOW_TRACKING_URI"
        )
    if re.search(r"logged-models.*error code 404\b", message):
        return (
            "is older than version 3: it keeps no logged models, without which nothing can be registered; install "
            "MLflow 3 there, or set MLFLOW_TRACKING_URI to a server that has it"
        )
    if re.search(WRONG_NAME, message):
        return f"does not answer as MLflow does ({message}); check MLFLOW_TRACKING_URI"
    if FULL_DATABASE in message:
        return f"cannot write ({message}), and repeat"
    if (database := local_database(tracking_uri())) is not None and re.search(DAMAGED, message):
        return f"is damaged ({message}); {set_aside(str(database))}"
    return None


def _is_unanswered(error: Exception, message: str) -> bool:
    if re.search(UNSAFE, message):
        return False
    if isinstance(error, OSError):
        root = type(error).__module__.partition(".")[0]
        return isinstance(error, ConnectionError | TimeoutError) or root in ("requests", "urllib3")
    if type(error).__name__ == "RestException":  # a server's own words, whose status is known
        from mlflow.exceptions import ERROR_CODE_TO_HTTP_STATUS, MlflowException

        assert isinstance(error, MlflowException), type(error)
        return ERROR_CODE_TO_HTTP_STATUS.get(error.error_code, 500) in OUTAGES
    return re.search(UNANSWERED, message) is not None


def set_aside(path: str) -> str:
    """What to do about a local store that is of no use, without losing what it may hold."""
    return f"bring it back from a copy, or begin with an empty store: `mv {path} {path}.old`, then repeat"
