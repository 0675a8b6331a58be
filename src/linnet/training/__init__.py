"""Training: the loss of a step, the optimizer loop, EMA weights, checkpoints, several processes."""
