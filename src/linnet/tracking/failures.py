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
UNANSWERED = r"failed with exception|error code 5\d\d\b|too many 5\d\d|OperationalError|timed? ?out|refused"
DAMAGED = r"malformed|not a database|no such (table|column)|disk I/O"


class TrackingError(LinnetError):
    """MLflow does not answer, does not let us in, or cannot take what it is to be given."""


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
        if isinstance(error, OSError) or _is_foreign(error):
            raise tracking_error(error) from None
        raise


def tracking_error(error: Exception) -> TrackingError:
    """The sentence about an error of MLflow's."""
    message = first_line(error)
    return TrackingError(f"MLflow at {display_uri()}: {_cause(error, message)}")


def _is_foreign(error: Exception) -> bool:
    return any(kind.__module__.partition(".")[0] in FOREIGN for kind in type(error).__mro__)


def _cause(error: Exception, message: str) -> str:
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
    if (database := local_database(tracking_uri())) is not None:
        if "locked" in message:
            return f"is locked by another program ({message}); wait for it, or stop it, then repeat"
        if re.search(DAMAGED, message):
            return f"is damaged ({message}); {set_aside(str(database))}"
    if isinstance(error, OSError) or re.search(UNANSWERED, message):
        return f"does not answer ({message}); check MLFLOW_TRACKING_URI and that the server runs, then repeat"
    return f"refuses ({message}); put right what it names, or set MLFLOW_TRACKING_URI to another server, then repeat"


def set_aside(path: str) -> str:
    """What to do about a local store that is of no use, without losing what it may hold."""
    return f"bring it back from a copy, or begin with an empty store: `mv {path} {path}.old`, then repeat"
