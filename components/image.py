"""The one image that every component runs in."""

import os

# A cluster gets it by digest (`pipelines.submit` insists), so that a cached result is the result of this very code.
IMAGE = os.environ.get("LINNET_IMAGE", "linnet:dev")
