"""Distances between sets of images. Knows features and numbers, no models of ours and no files but weights."""
