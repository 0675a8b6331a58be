"""Denoising networks, one architecture a file.

Every network is built as `Net(settings, shape=(channels, height, width), conditioning=section)` and maps (noisy
examples [B, C, H, W], a noise level [B], a condition of B rows or None) to a prediction of the examples' shape. Its
`noise_level` says which number it wants: the noise variance (1 - alpha-bar) or the timestep. conditioning.py says what
conditions look like; None tells every example nothing.
"""

from typing import Literal

NoiseLevel = Literal["noise_variance", "timestep"]
