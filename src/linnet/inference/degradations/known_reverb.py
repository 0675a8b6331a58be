"""A known room."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from linnet.diffusion.operators import FrequencyConvolution
from linnet.inference.degradations.files import RestorationError, RestorationInput, read_waveform
from linnet.inference.degradations.reverberation import Reverberation
from linnet.inference.inverse_problem import InverseProblem
from linnet.progress import log
from linnet.recipe import STFT, Shape
from linnet.recipe.restore import KnownReverb

RIDGE = 1e-3  # of a frame's energy


class KnownRoom(Reverberation[KnownReverb]):
    """Held-out examples get a synthetic room, a file comes with the impulse response of its own."""

    def pose(self, shape: Shape) -> InverseProblem:
        return self.problem(self.synthetic_room(shape))

    def pose_file(self, shape: Shape, given: RestorationInput) -> InverseProblem:
        if given.impulse_response is None:
            raise RestorationError(
                "known_reverb needs --impulse-response: a recording of the room's response to a click"
            )
        response = read_waveform(given.impulse_response, self.data)  # its level does not matter
        for note in response.notes:
            log(f"{given.impulse_response}: {note}")
        if not response.samples.any():
            raise RestorationError(
                f"{given.impulse_response}: is silent; give a recording of the room's response to a click"
            )
        filters = room_filters(self.data.stft, torch.from_numpy(response.samples), max_taps=shape[-1])
        return self.problem(FrequencyConvolution(filters.to(self.device)))

    def baseline(self, problem: InverseProblem, y: Tensor) -> Tensor:
        """The pseudo-inverse."""
        return self.codec.unstandardize(problem.operator.pseudo_inverse(y))


def room_filters(stft: STFT, impulse_response: Tensor, *, max_taps: int) -> Tensor:
    """Complex [F, K]: how each frequency's frames are mixed by a room, from its response h to a click.

    The convolutive transfer function without cross-bands (Talmon et al. 2009) that predicts the STFT of reverberant
    white noise best. With c the window's autocorrelation, frames every H samples and g[k, q] the filters turned by
    exp(-2 pi i k q H / N), it solves sum_p c[(q - p) H] g[k, p] = sum_l h[l] c[l - q H] exp(-2 pi i k l / N). Where
    frames have too little energy to tell, it is drawn to the response of no room. The click is where h is loudest.
    """
    size, hop, click = stft.window_samples, stft.hop_samples, int(impulse_response.abs().argmax())
    response = (impulse_response[click:] / impulse_response[click]).double()
    taps = min(-(-(len(response) + size) // hop), max_taps)
    window = torch.hann_window(size, dtype=torch.float64)
    correlation = F.conv1d(window[None, None], window[None, None], padding=size - 1)[0, 0]  # its middle is lag 0
    frames = F.pad(response, (size - 1, taps * hop + size)).unfold(0, 2 * size - 1, hop)[:taps] * correlation
    folded = frames[:, :size] + F.pad(frames[:, size:], (0, 1))  # exp(-2 pi i k l / N) repeats after N samples
    bins = torch.arange(size // 2 + 1 - stft.num_bins, size // 2 + 1)[:, None]
    turn = _turn(bins * torch.arange(taps) * hop, size)
    target = torch.fft.rfft(folded).T[bins[:, 0]] * turn * _turn(-bins * (size - 1), size)
    lags = F.pad(correlation[size - 1 :: hop], (0, taps))[:taps]
    gram = lags[(torch.arange(taps)[:, None] - torch.arange(taps)).abs()]
    loaded = gram + RIDGE * lags[0] * torch.eye(taps, dtype=torch.float64)
    direct = F.one_hot(torch.tensor(0), taps).double()
    solved: Tensor = direct + torch.linalg.solve(loaded.to(target.dtype), (target - gram @ direct).T).T
    return solved * turn.conj()


def _turn(samples: Tensor, size: int) -> Tensor:
    """exp(-2 pi i samples / size), complex128."""
    return torch.exp(-2j * math.pi * (samples % size).double() / size)
