"""MLflow: finding runs and the server (`client`), and logging to the run of a training (`run`)."""
