"""Starting training processes: with torchrun on this machine, as a TrainJob on a cluster."""
