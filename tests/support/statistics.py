"""Statistics of imaginary data sets, for tests that need a codec and no dataset."""

from typing import Any

from linnet.modalities.statistics import AudioStatistics, ImageStatistics, neutral_statistics
from linnet.recipe import Audio
from support.audio_section import AUDIO
from support.tiny import tiny_recipe


def image_statistics(**fields: Any) -> ImageStatistics:
    """Neutral ones with `fields` changed; classes are counted from 1 unless their numbers are given."""
    if "class_names" in fields:
        fields = {"class_numbers": list(range(1, len(fields["class_names"]) + 1))} | fields
    return ImageStatistics.model_validate(neutral_statistics(tiny_recipe().data).model_dump() | fields)


def audio_statistics(data: Audio = AUDIO, **fields: Any) -> AudioStatistics:
    """Neutral ones for the frequencies of `data`, with `fields` changed."""
    return AudioStatistics.model_validate(neutral_statistics(data).model_dump() | fields)
