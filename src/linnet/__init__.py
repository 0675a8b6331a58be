"""linnet trains diffusion models on pictures and sound as one reproducible pipeline."""
