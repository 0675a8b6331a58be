"""[register]: where the model goes, and when it becomes the champion."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from linnet.recipe.section import OpenFraction, Section


class GateSection(Section):
    """When a new version becomes the champion."""

    metric: str  # a key of metrics.json, such as "frechet_thumbnail"; lower is better
    max_ratio_to_noise: PositiveFloat  # of the distance that pure noise has; above 1 lets noise itself through
    min_improvement: OpenFraction  # over the champion, as a fraction of its score; of scores below 0 neither is better
    when_incomparable: Literal["promote", "keep"]  # the champion was measured on other data or by another protocol


class RegisterSection(Section):
    """Where the model goes in the registry."""

    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    gate: GateSection
