"""Tiny audio models that several stages are tried on, and what `sample` makes of them."""

from pathlib import Path

import pytest

from linnet.stages import sample
from support.audio_models import BATCH, CPU, Made, made


@pytest.fixture(scope="module", params=["voices", "music"])
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Complex spectrograms without conditions, then magnitudes with text."""
    return made(request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made("music", tmp_path_factory)


@pytest.fixture(scope="module")
def samples(either: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("samples") / "samples"
    sample.run(either.recipe, model=either.model, out=out, device=CPU, batch_size=BATCH)
    return out
