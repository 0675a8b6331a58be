"""The training pipeline, and the commands that run it here, submit it, schedule it, and sweep over its recipes."""
