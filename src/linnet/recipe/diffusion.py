"""[diffusion]: the forward process and what the network predicts."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat

from linnet.recipe.section import Section

NoiseLevel = Literal["noise_variance", "timestep"]  # how a network takes the noise level: as 1 - alpha-bar, or as t


class LinearSchedule(Section):
    """beta grows linearly (Ho et al. 2020)."""

    kind: Literal["linear"]
    num_timesteps: Annotated[int, Field(ge=2)]
    beta_start: Annotated[float, Field(gt=0, lt=1)]
    beta_end: Annotated[float, Field(gt=0, lt=1)]


class CosineSchedule(Section):
    """alpha-bar is a squared cosine (Nichol & Dhariwal 2021, eq. 17)."""

    kind: Literal["cosine"]
    num_timesteps: Annotated[int, Field(ge=2)]
    offset: NonNegativeFloat  # their s


class DiffusionSection(Section):
    """The forward process, what the network predicts, and its loss."""

    schedule: Annotated[LinearSchedule | CosineSchedule, Field(discriminator="kind")]
    prediction: Literal["epsilon", "x0", "v"]
    loss: Literal["mse", "mae"]
