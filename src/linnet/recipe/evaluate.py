"""[evaluate]: in which features the samples are compared with real examples, and what their distances are called."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from linnet.recipe.section import Section

ImageFeatures = Literal["inception", "thumbnail", "texture"]
AudioFeatures = Literal["log_mel", "vggish", "scripted"]
LearnedFeatures = Literal["inception", "vggish", "scripted"]  # of a network whose weights are a file
Features = Literal[ImageFeatures, AudioFeatures]


class EvaluateSection(Section):
    """How the samples are compared with real examples."""

    features: Annotated[tuple[Features, ...], Field(strict=False, min_length=1)]
    reference_split: Literal["train", "test"]
    kernel_subsets: PositiveInt
    kernel_subset_size: Annotated[int, Field(ge=2)]
    seed: NonNegativeInt


def metric_names(features: Features, *, is_published: bool = True) -> tuple[str, str]:
    """The names of the Frechet and of the kernel distance in these features.

    Args:
        is_published: whether the network has the published weights: only then Inception's may be called FID and KID,
            VGGish's FAD and KAD.
    """
    match features:
        case "inception" if is_published:
            return "fid", "kid"
        case "vggish" if is_published:
            return "fad", "kad"
        case _:
            return f"frechet_{features}", f"kernel_{features}"


def can_have_metric(section: EvaluateSection, metric: str) -> bool:
    """Whether evaluate computes `metric`, with the published weights or with those of another file."""
    features = section.features
    return any(metric in metric_names(name, is_published=published) for name in features for published in (True, False))
