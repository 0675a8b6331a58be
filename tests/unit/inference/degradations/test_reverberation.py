"""Synthetic rooms: how they decay, and how long they are."""

import torch

from linnet.diffusion.reverb import decay
from linnet.inference.degradations.known_reverb import KnownRoom
from linnet.recipe.restore import KnownReverb
from support.degradations import AUDIO, CPU, DATA


def filters(seconds: float, shape: tuple[int, int, int]) -> torch.Tensor:
    section = KnownReverb(name="room", kind="known_reverb", reverberation_seconds=seconds, noise_std=0.0)
    return KnownRoom(section, AUDIO, 0, CPU).synthetic_filters(shape)


def test_a_synthetic_room_decays_by_60_db_in_its_time() -> None:
    found = filters(0.05, (2, 4000, 64))
    assert found.shape == (4000, 26), "taps up to 0.05 s, every 2 ms"
    assert torch.equal(found[:, 0], torch.ones(4000, dtype=found.dtype)), "the direct sound"
    power = found[:, 1:].abs().double().square().mean(dim=0)
    torch.testing.assert_close(power, decay(26, 0.05, 0.002)[1:], rtol=0.1, atol=0)


def test_a_room_lasts_no_longer_than_half_an_example() -> None:
    assert filters(10.0, DATA.shape).shape == (32, 32)
