"""What runs on a cluster: the training pipeline, and the commands that submit and schedule it."""
