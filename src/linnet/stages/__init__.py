"""One module a stage: `run(<recipe sections>, *, <folders>)`. Only stages join data, models, diffusion and training."""

from linnet.stages.table import STAGES

__all__ = ["STAGES"]
