"""linnet trains diffusion models on images and audio as one reproducible pipeline."""

import os

from linnet.account import complete_account

# Compute threads wait for each other by spinning, which beside busy processes makes them up to fifty times slower.
# OpenMP reads these when torch is imported, so they are set before anything of linnet imports it. What is set stays.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # GNU's, which torch's packages bring
os.environ.setdefault("KMP_BLOCKTIME", "1")  # milliseconds; Intel's and LLVM's
complete_account(os.environ, os.getuid())

# Libraries that report their use to their makers do so only where somebody wants it. They read this when imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DVC_NO_ANALYTICS", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")  # whatever else looks at it
