"""Distances between sets of pictures. Knows features and numbers, no models of ours and no files but weights."""
