"""From waveforms to feature vectors: a descriptor that needs no downloaded weights, VGGish, and any TorchScript file.

Only distances in the published VGGish's features may be called FAD and KAD. The descriptor has a name of its own; a
change of its definition changes `PROTOCOL`, because its numbers would no longer compare.
"""

import hashlib
import pickle
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal, Self, assert_never

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from linnet.audio.mel import mel_filters, windowed_frames
from linnet.metrics.image_features import WeightsError
from linnet.metrics.vggish import SAMPLE_RATE_HZ, VGGish
from linnet.recipe import AudioFeatures

LearnedFeatures = Literal["vggish", "scripted"]

VGGISH_FILE = "vggish-10086976.pth"  # its name at the torch port; the end is its sha256's start
VGGISH_SHA256_START = "10086976"
VGGISH_URL = "https://github.com/harritaylor/torchvggish/releases/download/v0.1/" + VGGISH_FILE
WEIGHTS_FLAG = "--embedding-weights (LINNET_EMBEDDING_WEIGHTS)"

FULL_SCALE = 32768.0
NUM_BANDS = 32
LOW_HZ = 30.0
WINDOW_SECONDS, HOP_SECONDS = 0.064, 0.016
FLOOR = 1e-8  # -80 dB of full scale squared: above the noise of rounding to 16 bits, so that silence is silence
PROTOCOL = {
    "log_mel": "linnet log-mel-1: log10 energy in 32 mel bands; mean, deviation and frame-to-frame change over time",
    "vggish": "VGGish (torch port, 128 features before ReLU and PCA), all 0.96 s patches pooled",
    "scripted": "TorchScript file",
}


class Embedding(torch.nn.Module):
    """The network, and which weights it has: only the published ones make FAD and KAD."""

    def __init__(self, network: torch.nn.Module, features: LearnedFeatures, sha256: str) -> None:
        super().__init__()
        self.network, self.features, self.sha256 = network, features, sha256
        self.is_published = features == "vggish" and sha256.startswith(VGGISH_SHA256_START)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: what the network measures must not depend on the batch."""
        return super().train(False)

    def forward(self, waveforms: Tensor, sample_rate_hz: int) -> Tensor:
        """Float32 [B, samples] in -1..1 -> [B, R, d]: VGGish gives a vector for each patch, a TorchScript file one.

        Raises:
            WeightsError: a TorchScript file gives something else, or the numbers are not finite.
        """
        match self.features:
            case "vggish":
                from torchaudio.functional import resample

                vectors: Tensor = self.network(resample(waveforms, sample_rate_hz, SAMPLE_RATE_HZ))
            case "scripted":  # made for the recipe's rate
                vectors = self._one_each(self.network(waveforms), len(waveforms))[:, None]
            case _:
                assert_never(self.features)
        if not bool(vectors.isfinite().all()):
            raise WeightsError(
                f"the embedding with sha256 {self.sha256[:8]}... gave numbers that are not finite; does it take "
                "waveforms in -1..1 at the recipe's sample_rate_hz, silence among them?"
            )
        return vectors

    def _one_each(self, vectors: object, count: int) -> Tensor:
        """A file from elsewhere may give anything."""
        if not isinstance(vectors, Tensor) or vectors.ndim != 2 or len(vectors) != count:
            given = f"shape {tuple(vectors.shape)}" if isinstance(vectors, Tensor) else type(vectors).__name__
            raise WeightsError(
                f"the embedding with sha256 {self.sha256[:8]}... gave {given} for {count} audio, wanted one vector "
                f"each, [{count}, d]; script a module that maps waveforms [B, samples] to [B, d]"
            )
        return vectors


def extract(
    features: AudioFeatures,
    waveforms: NDArray[np.int16],
    *,
    sample_rate_hz: int,
    batch_size: int,
    device: torch.device,
    embedding: Embedding | None,
) -> Iterator[Tensor]:
    """Feature batches, float64 [<= batch_size, R, d], of 16-bit waveforms [N, samples]; R = 1 but for VGGish's patches.

    Raises:
        WeightsError: the file of a scripted embedding does not give one vector an audio.
    """
    for start in range(0, len(waveforms), batch_size):
        batch = torch.from_numpy(np.array(waveforms[start : start + batch_size])).to(device) / FULL_SCALE
        match features:
            case "log_mel":
                yield log_mel(batch.double(), sample_rate_hz)[:, None]
            case "vggish" | "scripted":
                assert embedding is not None, "the caller loads the weights"
                assert embedding.features == features
                with torch.no_grad():
                    vectors = embedding(batch, sample_rate_hz).double()
                yield vectors
            case _:
                assert_never(features)


def log_mel(waveforms: Tensor, sample_rate_hz: int) -> Tensor:
    """Float64 [B, samples] in -1..1 -> [B, 96]: how loud each band is, how much that varies, and how fast.

    Power spectra of frames of 64 ms every 16 ms, summed in 32 mel bands from 30 Hz to half the sample rate, as
    log10(energy + 1e-8), where a full-scale sine has an energy of about 0.4. Of each band over time: mean, standard
    deviation, and root mean square of the step from one frame to the next. What is shorter than two frames is padded
    with zeros.
    """
    window, hop = round(WINDOW_SECONDS * sample_rate_hz), round(HOP_SECONDS * sample_rate_hz)
    waveforms = F.pad(waveforms, (0, max(0, window + hop - waveforms.shape[-1])))
    points = 1 << (window - 1).bit_length()  # a power of two: odd lengths take twice as long
    filters = _filters(points, sample_rate_hz).to(waveforms)
    full_scale = window * points / 4  # by which a sine's energy, summed over bins, depends on neither length
    vectors = []
    for waveform in waveforms:  # one by one: a matrix product's last bits depend on its size
        frames = windowed_frames(waveform, window_samples=window, hop_samples=hop)
        power = torch.view_as_real(torch.fft.rfft(frames, n=points)).square().sum(dim=-1) / full_scale
        levels = torch.log10(power @ filters + FLOOR)
        spread = levels.std(dim=0, correction=0)
        vectors.append(torch.cat([levels.mean(dim=0), spread, levels.diff(dim=0).square().mean(dim=0).sqrt()]))
    return torch.stack(vectors)


@lru_cache(maxsize=4)
def _filters(points: int, sample_rate_hz: int) -> Tensor:
    return mel_filters(
        num_bins=points // 2 + 1,
        sample_rate_hz=sample_rate_hz,
        num_bands=NUM_BANDS,
        low_hz=LOW_HZ,
        high_hz=sample_rate_hz / 2,
    )


def protocol(features: AudioFeatures, *, sample_rate_hz: int, embedding: Embedding | None) -> str:
    """How the features were made, in a line: distances with different lines do not compare."""
    weights = ""
    if embedding is not None and embedding.features == features and not embedding.is_published:
        weights = f" {embedding.sha256[:8]}"
    return f"{PROTOCOL[features]}{weights}, of audio at {sample_rate_hz} Hz"


def load_embedding(
    features: LearnedFeatures, weights: Path | None, sha256: str | None, device: torch.device
) -> Embedding:
    """The network that `weights` holds, in evaluation mode.

    Args and Raises: as of `find_embedding`; also WeightsError where the file holds something else.
    """
    path, found = find_embedding(features, weights, sha256)
    match features:
        case "vggish":
            network: torch.nn.Module = _read_vggish(path)
        case "scripted":
            network = _read_script(path)
        case _:
            assert_never(features)
    return Embedding(network.to(device), features, found).eval().requires_grad_(False)


def find_embedding(features: LearnedFeatures, weights: Path | None, sha256: str | None) -> tuple[Path, str]:
    """The file with an embedding, and its sha256.

    Args:
        features: "vggish", a state dict, or "scripted", a TorchScript file.
        weights: the file; None looks for VGGish's in torch's hub folder, where the torch port also puts it.
        sha256: what the file must hash to; None accepts any TorchScript file, but only the published VGGish.

    Raises:
        WeightsError: no file, or one with another hash.
    """
    path = weights or Path(torch.hub.get_dir()) / "checkpoints" / VGGISH_FILE
    if (features == "scripted" and weights is None) or not path.is_file():
        raise WeightsError(_what_is_missing(features, weights, path))
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    wanted = sha256 or (VGGISH_SHA256_START if features == "vggish" else "")
    if not (found == sha256 if sha256 else found.startswith(wanted)):
        raise WeightsError(
            f"{path}: sha256 is {found}, wanted {wanted}{'' if sha256 else '...'}; fetch the file again or give its "
            "--embedding-sha256"
        )
    return path, found


def _what_is_missing(features: LearnedFeatures, weights: Path | None, path: Path) -> str:
    match features:
        case "vggish" if weights is None:
            return (
                f"FAD and KAD need VGGish's weights: put the file {VGGISH_FILE} from {VGGISH_URL} at {path}, or give "
                f"its path with {WEIGHTS_FLAG}, or take 'vggish' out of [evaluate] features."
            )
        case "vggish":
            return f"{path}: no such file; give VGGish's weights ({VGGISH_FILE} from {VGGISH_URL}) with {WEIGHTS_FLAG}"
        case "scripted" if weights is None:
            return (
                "'scripted' features need a TorchScript file that maps waveforms [B, samples] to [B, d]: give its path "
                f"with {WEIGHTS_FLAG}, or take 'scripted' out of [evaluate] features."
            )
        case "scripted":
            return f"{path}: no such file; give a TorchScript file with {WEIGHTS_FLAG}"
        case _:
            assert_never(features)


def _read_vggish(path: Path) -> VGGish:
    with torch.device("meta"):
        network = VGGish()
    state = _read_tensors(path)
    for name, wanted in network.state_dict().items():
        if name not in state:
            raise _not_vggish(path, f"{name} is not in it")
        if state[name].shape != wanted.shape:
            raise _not_vggish(path, f"{name} has shape {tuple(state[name].shape)}, wanted {tuple(wanted.shape)}")
    if extra := sorted(state.keys() - network.state_dict().keys()):
        raise _not_vggish(path, f"{extra[0]} is also in it")
    network.to_empty(device="cpu").load_state_dict(state)
    return network


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a TorchScript file, which is then refused
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, LookupError, EOFError, ValueError, pickle.UnpicklingError):
        # What torch says here is about versions of torch, or how to load the file all the same.
        raise _not_vggish(path, "it holds something else than tensors, or is damaged") from None
    if not isinstance(state, dict):
        raise _not_vggish(path, f"it holds a {type(state).__name__}")
    return {str(name): value for name, value in state.items() if isinstance(value, Tensor)}


def _not_vggish(path: Path, why: str) -> WeightsError:
    return WeightsError(f"{path}: not a state dict of VGGish: {why}; take {VGGISH_FILE} from {VGGISH_URL}")


def _read_script(path: Path) -> torch.nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`torch\.jit\.load` is deprecated", DeprecationWarning)
            network: torch.nn.Module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError):
        raise WeightsError(
            f"{path}: not a TorchScript file, or a damaged one; write it with torch.jit.script(module).save(path)"
        ) from None
    return network
