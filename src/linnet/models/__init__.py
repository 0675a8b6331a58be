"""Denoising networks, one architecture a file.

Every network maps (noisy pictures [B, C, H, W], a noise level [B], class labels [B] or None) to a prediction of the
pictures' shape. Its `noise_level` says which number it wants: the noise variance (1 - alpha-bar) or the timestep.
Labels run from 0; `num_classes` itself is the "no class" label of classifier-free guidance.
"""

from typing import Literal

NoiseLevel = Literal["noise_variance", "timestep"]
