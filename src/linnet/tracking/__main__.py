"""`python -m linnet.tracking`: make the local store whole, before MLflow's own programs open it (`make ui-mlflow`)."""

from linnet.errors import error_boundary
from linnet.progress import log
from linnet.tracking.client import connect

if __name__ == "__main__":
    with error_boundary(lambda message: log(f"linnet: {message}")):
        connect()
