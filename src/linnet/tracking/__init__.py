"""MLflow: finding runs and the server (`client`), feeding the run of a training from the side (`run`)."""
