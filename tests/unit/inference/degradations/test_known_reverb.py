"""A room's filters from its impulse response, against echoes and convolutions whose answer is known."""

import torch

from linnet.diffusion.operators import FrequencyConvolution
from linnet.inference.degradations.known_reverb import room_filters
from linnet.modalities.audio_codec import AudioCodec
from support.audio_section import AUDIO
from support.rooms import reverberant, room_response
from support.statistics import audio_statistics

CPU = torch.device("cpu")
CODEC = AudioCodec(AUDIO, audio_statistics(mean=[0.0] * 32, scale=[1.0] * 32, peak=[9.0] * 32), CPU)


def test_a_click_alone_is_no_room() -> None:
    click = torch.zeros(500)
    click[37] = -0.4
    filters = room_filters(AUDIO.stft, click, max_taps=64)
    expected = torch.zeros_like(filters)
    expected[:, 0] = 1
    torch.testing.assert_close(filters, expected, rtol=0, atol=1e-9)


def test_an_echo_of_whole_frames_is_a_tap() -> None:
    """Delayed by 3 frames and half as loud; a frame counts its phase from its own start, so there is no turn."""
    response = torch.zeros(64)
    response[0], response[48] = 1, 0.5
    filters = room_filters(AUDIO.stft, response, max_taps=64)
    x = CODEC.spectrogram(torch.randn(1, 4000, generator=torch.Generator().manual_seed(0)))
    expected = x.clone()
    expected[..., 3:] += 0.5 * x[..., :-3]
    predicted = FrequencyConvolution(filters).forward(x)
    inside = slice(10, -10)
    assert (predicted - expected)[..., inside].norm() < 0.01 * expected[..., inside].norm()


def test_filters_predict_the_spectrum_of_reverberant_audio() -> None:
    """Against a convolution of samples; without cross-bands it cannot be exact."""
    dry = torch.randn(6000, generator=torch.Generator().manual_seed(1))
    response = room_response()
    filters = room_filters(AUDIO.stft, torch.cat([torch.zeros(20), 0.5 * response]), max_taps=64)
    x, y = (CODEC.spectrogram(audio[None]) for audio in (dry, reverberant(dry, response)))
    inside = slice(len(response) // 16 + 4, -4)
    error = (FrequencyConvolution(filters).forward(x) - y)[..., inside].norm() / y[..., inside].norm()
    assert error < 0.05
    assert (x - y)[..., inside].norm() / y[..., inside].norm() > 0.3, "or there was no room to speak of"


def test_filters_are_no_longer_than_asked() -> None:
    assert room_filters(AUDIO.stft, room_response(1000), max_taps=7).shape == (32, 7)
