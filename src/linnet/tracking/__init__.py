"""MLflow: where it is, its local store, finding runs and the server, and logging to the run of a training."""
