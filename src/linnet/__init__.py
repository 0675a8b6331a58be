"""linnet trains diffusion models on images and audio as one reproducible pipeline."""
