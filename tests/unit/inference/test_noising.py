"""Snapshots on the way out of the noise meet those on the way back in the finished example."""

import numpy as np
import pytest

from linnet.inference.noising import noising_snapshots
from linnet.inference.sampling import plan_samples
from support.audio_models import Made, made


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made("music", tmp_path_factory)


def test_the_way_back_starts_where_the_way_out_ends(music: Made) -> None:
    model = music.diffusion_model()
    snapshots = noising_snapshots(model, plan_samples(model.recipe, model.statistics, music.recipe.sample))
    assert snapshots.shape == (4, 10, music.audio.window_samples), "two examples, each there and back"
    for out, back in (snapshots[:2], snapshots[2:]):
        assert np.abs(out[-1].astype(int) - back[0]).max() <= 1
        assert not np.array_equal(out[-2], back[1]), "the same noise level, another noise"
    assert not np.array_equal(snapshots[0, -1], snapshots[2, -1])
