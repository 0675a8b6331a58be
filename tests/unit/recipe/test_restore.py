"""What a new kind of degradation must say of itself."""

import pytest

from linnet.recipe.restore import Degradation, degradation_classes


def test_a_degradation_must_say_what_it_is_for() -> None:
    with pytest.raises(TypeError, match="Forgetful: a degradation needs the class attribute modalities"):

        class Forgetful(Degradation):
            kind: str


def test_kinds_are_known_by_what_they_are_for() -> None:
    images = {kind for kind, section in degradation_classes().items() if "images" in section.modalities}
    assert images >= {"denoise", "inpaint_pixels", "super_resolution"}
    assert not images & {"inpaint_bins", "inpaint_frames", "bandwidth_extension", "known_reverb"}
