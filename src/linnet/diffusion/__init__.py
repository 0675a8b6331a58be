"""The mathematics of diffusion: schedules, objectives, samplers. Knows tensors, no networks and no files."""
