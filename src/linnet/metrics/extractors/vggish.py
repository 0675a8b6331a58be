"""vggish: the embeddings of VGGish (Hershey et al. 2017), which FAD and KAD are defined by."""

import pickle
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from linnet.audio.mel import mel_filters, windowed_frames
from linnet.metrics.extractors.base import AudioExtractor, LearnedExtractor
from linnet.metrics.extractors.weights import EMBEDDING_OPTION, PublishedWeights, Weights, WeightsError

FILE = "vggish-10086976.pth"  # its name at the torch port; the end is its sha256's start
PUBLISHED = PublishedWeights(
    features="vggish",
    network="VGGish",
    metrics="FAD and KAD",
    file=FILE,
    url="https://github.com/harritaylor/torchvggish/releases/download/v0.1/" + FILE,
    sha256_start="10086976",
    option=EMBEDDING_OPTION,
    is_downloaded=False,
)
SAMPLE_RATE_HZ = 16_000
WINDOW_SAMPLES = 400  # 25 ms
HOP_SAMPLES = 160  # 10 ms
FFT_SAMPLES = 512  # the window is padded with zeros
NUM_BANDS = 64
LOW_HZ, HIGH_HZ = 125.0, 7500.0
LOG_OFFSET = 0.01
PATCH_FRAMES = 96  # 0.96 s from frame to frame
PATCH_SAMPLES = WINDOW_SAMPLES + (PATCH_FRAMES - 1) * HOP_SAMPLES  # 0.975 s: the least that fills a patch
EMBEDDING_SIZE = 128
PATCHES_AT_ONCE = 64  # long audio has many; the first layer makes 1.5 MB of each


class VGGishFeatures(LearnedExtractor, AudioExtractor):
    """One row for each patch of 0.96 s."""

    name = "vggish"
    definition = "VGGish (torch port, 128 features before ReLU and PCA), all 0.96 s patches pooled"

    @classmethod
    def find_weights(cls, path: Path | None, sha256: str | None) -> Weights:
        """The published file, which the user fetches, or another one with a known hash."""
        return PUBLISHED.find(path, sha256)

    @staticmethod
    def load(path: Path) -> nn.Module:
        """The network with the state dict at `path`. Raises WeightsError where it holds something else."""
        with torch.device("meta"):
            network = VGGish()
        state = _read_tensors(path)
        for name, expected in network.state_dict().items():
            if name not in state:
                raise _not_vggish(path, f"{name} is not in it")
            if (shape := state[name].shape) != expected.shape:
                raise _not_vggish(path, f"{name} has shape {tuple(shape)} instead of {tuple(expected.shape)}")
        if extra := sorted(state.keys() - network.state_dict().keys()):
            raise _not_vggish(path, f"{extra[0]} is also in it")
        network.to_empty(device="cpu").load_state_dict(state)
        return network

    def extract(self, waveforms: Tensor) -> Tensor:
        """Float32 [B, samples] in -1..1 -> float64 [B, patches, 128]. Raises WeightsError if it is not finite."""
        from torchaudio.functional import resample

        with torch.no_grad():
            vectors: Tensor = self.network(resample(waveforms, self.sample_rate_hz, SAMPLE_RATE_HZ))
        self.check_finite(vectors)
        return vectors.double()


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
    return WeightsError(f"{path}: not a state dict of VGGish: {why}; take {FILE} from {PUBLISHED.url}")


class VGGish(nn.Module):
    """Waveforms in -1..1, float32 [B, samples] at 16 kHz -> embeddings [B, patches, 128].

    Patches of 0.96 s, which do not overlap; what is left over at the end is not looked at, and audio shorter than a
    patch is padded with zeros. Without the last ReLU and without PCA, as the toolkits of the Frechet audio distance
    have it. Parameters are named as in the state dict of the common torch port.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(1, 64),
            nn.MaxPool2d(2),
            *_convolution(64, 128),
            nn.MaxPool2d(2),
            *_convolution(128, 256),
            *_convolution(256, 256),
            nn.MaxPool2d(2),
            *_convolution(256, 512),
            *_convolution(512, 512),
            nn.MaxPool2d(2),
        )
        self.embeddings = nn.Sequential(
            nn.Linear(512 * (PATCH_FRAMES // 16) * (NUM_BANDS // 16), 4096),
            nn.ReLU(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, EMBEDDING_SIZE),
        )

    def forward(self, waveforms: Tensor) -> Tensor:
        patches = log_mel_patches(waveforms)
        vectors = torch.cat([self._embed(batch) for batch in torch.split(patches.flatten(0, 1), PATCHES_AT_ONCE)])
        return vectors.reshape(*patches.shape[:2], -1)

    def _embed(self, patches: Tensor) -> Tensor:
        """[P, 96, 64] -> [P, 128]."""
        maps: Tensor = self.features(patches[:, None])
        flat = maps.permute(0, 2, 3, 1).flatten(1)  # channels last: the weights come from TensorFlow
        vectors: Tensor = self.embeddings(flat)
        return vectors


def log_mel_patches(waveforms: Tensor) -> Tensor:
    """Float [B, samples] at 16 kHz -> log(mel + 0.01) of magnitudes, [B, patches, 96 frames, 64 bands]."""
    padding = max(0, PATCH_SAMPLES - waveforms.shape[-1])
    waveforms = nn.functional.pad(waveforms, (0, padding))
    frames = windowed_frames(waveforms, window_samples=WINDOW_SAMPLES, hop_samples=HOP_SAMPLES)
    magnitudes = torch.fft.rfft(frames, n=FFT_SAMPLES).abs()
    filters = mel_filters(
        num_bins=FFT_SAMPLES // 2 + 1,
        sample_rate_hz=SAMPLE_RATE_HZ,
        num_bands=NUM_BANDS,
        low_hz=LOW_HZ,
        high_hz=HIGH_HZ,
    )
    log_mel = torch.log(magnitudes @ filters.to(magnitudes) + LOG_OFFSET)
    count = log_mel.shape[1] // PATCH_FRAMES
    return log_mel[:, : count * PATCH_FRAMES].reshape(-1, count, PATCH_FRAMES, NUM_BANDS)


def _convolution(in_channels: int, out_channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1), nn.ReLU()
