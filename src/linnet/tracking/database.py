"""A database that MLflow is to use without a server: whether it answers and lets us in, asked once and with a limit."""

import functools

from linnet.errors import redact_credentials
from linnet.tracking.failures import TrackingError, tracking_error

DATABASES = ("postgresql", "mysql", "mssql")  # beside SQLite, whose file is no server
CONNECT_SECONDS = 10
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
    """Open one connection to the database at `uri`; nothing happens for the address of a server or of a file.

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
        engine.connect().close()
    except ModuleNotFoundError as missing:
        raise TrackingError(
            f"MLflow at {redact_credentials(uri)}: this needs the Python package of '{missing.name}', which is not "
            "installed here; install it, or start an MLflow server at that database and set MLFLOW_TRACKING_URI to its "
            "http:// address"
        ) from None
    except (SQLAlchemyError, ValueError) as error:  # the second for an address that cannot be read
        raise tracking_error(error) from None
