"""What all extractors share: batches, rows and protocols."""

from pathlib import Path

import numpy as np
import pytest
import torch

from linnet.metrics.extractors import base
from linnet.metrics.extractors.base import ImageExtractor, LearnedExtractor
from linnet.metrics.extractors.build import build_extractor
from linnet.metrics.extractors.weights import Weights
from linnet.recipe import Features
from support.audio_section import AUDIO
from support.extractors import CPU, audio_extractor, stand_in
from support.tiny import tiny_recipe


@pytest.mark.parametrize(("features", "dims"), [("thumbnail", 108), ("texture", 96), ("log_mel", 96)])
def test_batches_change_no_bit(features: Features, dims: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    is_audio = features == "log_mel"
    examples = rng.integers(-9000, 9000, (13, 4000), dtype=np.int16)
    extractor = build_extractor(features, AUDIO if is_audio else tiny_recipe().data, None, CPU)
    if not is_audio:
        examples = rng.integers(0, 256, (13, 24, 24, 3), dtype=np.uint8)
    whole = extractor(examples)
    assert whole.shape == (13, 1, dims)
    assert whole.dtype == torch.float64
    for size in (1, 4, 100):
        monkeypatch.setattr(base, "BATCH_SIZE", size)
        batches = list(extractor.batches(examples))
        assert [len(batch) for batch in batches] == [min(size, 13 - start) for start in range(0, 13, size)]
        assert torch.equal(torch.cat(batches), whole)


def test_protocols_name_what_was_measured() -> None:
    log_mel = audio_extractor("log_mel", rate=22_050).protocol
    assert log_mel.startswith("linnet log-mel-1: ")
    assert log_mel.endswith(" at 22050 Hz")
    published, other = stand_in("vggish", "10086976"), stand_in("vggish", "deadbeef")
    assert published.is_published
    assert not other.is_published
    assert "deadbeef" in other.protocol
    assert other.protocol == published.protocol.replace(", of audio", ", weights deadbeef, of audio")
    assert not stand_in("scripted", "10086976").is_published


def test_weights_stand_in_the_protocols_of_their_own_features_only() -> None:
    weights = Weights(Path("weights.pth"), "deadbeef" + "0" * 56, is_published=False)
    assert audio_extractor("log_mel", weights).protocol == audio_extractor("log_mel").protocol
    images = [build_extractor("thumbnail", tiny_recipe().data, given, CPU) for given in (weights, None)]
    assert images[0].protocol == images[1].protocol
    assert not images[0].is_published


def test_features_must_say_which_they_are() -> None:
    class Partial(LearnedExtractor, ImageExtractor):
        """Without `extract` and `load`, it stands for a family of extractors, which needs no name."""

    with pytest.raises(TypeError, match="Forgetful: a feature extractor needs the class attribute definition"):

        class Forgetful(ImageExtractor):
            name = "thumbnail"

            def extract(self, images: torch.Tensor) -> torch.Tensor:
                return images.double().flatten(1)
