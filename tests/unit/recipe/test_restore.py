"""What a new kind of degradation must say of itself."""

import pytest

from linnet.recipe.restore import Degradation


def test_a_degradation_must_say_what_it_is_for() -> None:
    with pytest.raises(TypeError, match="Forgetful: a degradation needs the class attribute modalities"):

        class Forgetful(Degradation):
            kind: str
