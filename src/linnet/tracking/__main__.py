"""`python -m linnet.tracking`: the store is whole when this ends, for MLflow's own programs, such as `make ui-mlflow`."""

from linnet.errors import error_boundary
from linnet.progress import log
from linnet.tracking.client import connect

if __name__ == "__main__":
    with error_boundary(lambda message: log(f"linnet: {message}")):
        connect()
