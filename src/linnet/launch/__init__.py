"""How training processes are started: torchrun on this machine, a TrainJob on a cluster."""
