"""One module a stage: `run(<recipe sections>, *, <folders>)`. Only stages join data, models, diffusion and training."""

NAMES = ("ingest", "preprocess", "train", "sample", "restore", "evaluate", "register")
