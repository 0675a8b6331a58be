"""A database that MLflow is to use without a server: whether it answers and lets us in, asked once and with a limit."""

import functools
from typing import TYPE_CHECKING

from linnet.errors import redact_credentials
from linnet.tracking.failures import TrackingError, tracking_error

if TYPE_CHECKING:
    import sqlalchemy

DATABASES = ("postgresql", "mysql", "mssql")  # beside SQLite, whose file is no server
CONNECT_SECONDS = 10
LAST_MADE = "alembic_version"  # the table that says which schema the others have
LOCK = "SELECT pg_advisory_lock(7203944155)"  # held until its connection is closed; the number is linnet's
TIMEOUTS = {  # what drivers call the limit
    "psycopg": "connect_timeout",
    "psycopg2": "connect_timeout",
    "pymysql": "connect_timeout",
    "mysqldb": "connect_timeout",
    "mysqlconnector": "connection_timeout",
    "pyodbc": "timeout",
    "pymssql": "login_timeout",
    "pg8000": "timeout",
}


@functools.cache
def check_database(uri: str) -> None:
    """Open one connection to the database at `uri`, and let MLflow make its tables if there are none.

    Nothing happens for the address of a server or of a file.

    MLflow itself would try ten times, for two minutes, and print a traceback each time.

    Raises:
        TrackingError: it does not answer or refuses us, or the driver is not installed.
    """
    if uri.partition(":")[0].partition("+")[0] not in DATABASES:
        return
    import sqlalchemy
    from sqlalchemy.exc import SQLAlchemyError

    try:
        driver = sqlalchemy.make_url(uri).get_dialect()().driver
        limit = {TIMEOUTS[driver]: CONNECT_SECONDS} if driver in TIMEOUTS else {}
        engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool, connect_args=limit)
        with engine.connect() as connection:
            if not sqlalchemy.inspect(connection).has_table(LAST_MADE):
                _make_tables(connection, uri)
    except ModuleNotFoundError as missing:
        raise TrackingError(
            f"MLflow at {redact_credentials(uri)}: this needs the Python package of '{missing.name}', which is not "
            "installed here; install it, or start an MLflow server at that database and set MLFLOW_TRACKING_URI to its "
            "http:// address"
        ) from None
    except (SQLAlchemyError, ValueError) as error:  # the second for an address that cannot be read
        raise tracking_error(error) from None


def _make_tables(connection: "sqlalchemy.Connection", uri: str) -> None:
    """Two commands at once would break each other's steps; in PostgreSQL the second waits for the first."""
    import mlflow
    import sqlalchemy

    if connection.dialect.name == "postgresql":
        connection.execute(sqlalchemy.text(LOCK))
    mlflow.MlflowClient(uri).search_experiments(max_results=1)
