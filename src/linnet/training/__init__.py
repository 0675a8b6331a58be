"""The training loop and what it keeps: optimizer, averaged weights, checkpoints. Knows no diffusion."""
