"""How long samples are."""

import pytest

from linnet.inference.sampling import num_frames
from support.tiny import tiny_music_recipe, tiny_recipe


@pytest.mark.parametrize(("seconds", "frames"), [(0.05, 26), (0.032, 17), (0.03, None)])
def test_samples_are_never_shorter_than_a_training_example(seconds: float, frames: int | None) -> None:
    """16 frames 2 ms apart last 30 ms."""
    longer = f"{{ kind = 'longer', duration_seconds = {seconds}, overlap_fraction = 0.5 }}"
    recipe = tiny_music_recipe(f"sample.length={longer}")
    assert num_frames(recipe.training(), recipe.sample) == frames
    assert num_frames(recipe.training(), tiny_recipe().sample) is None
