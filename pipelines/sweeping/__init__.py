"""Sweeps: one recipe with many settings and several seeds, each run a DVC experiment, all of them in one table."""
