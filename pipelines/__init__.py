"""The training pipeline, and the commands that run it here, submit it, schedule it, and sweep over its recipes."""

import sys

from linnet.interruption import end_at_once_if_interrupted

if sys.argv[0] == "-m":  # `python -m pipelines.local` begins here; its libraries take seconds to import
    end_at_once_if_interrupted()
