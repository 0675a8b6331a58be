"""From images to feature vectors: Inception's, and descriptors that need no downloaded weights.

Only distances in Inception's features may be called FID and KID. The weight-free descriptors have names of their own; a
change of their definition changes `PROTOCOL`, because their numbers would no longer compare.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Self, assert_never

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from linnet.errors import LinnetError
from linnet.recipe import ImageFeatures

INCEPTION_FILE = (
    "weights-inception-2015-12-05-6726825d.pth"  # its name at torch-fidelity; the end is its sha256's start
)
INCEPTION_SHA256_START = "6726825d"
INCEPTION_URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/" + INCEPTION_FILE
THUMBNAIL = 6  # pixels a side
CELLS = 4  # texture is averaged in 4 x 4 cells
LUMINANCE = (0.299, 0.587, 0.114)
PROTOCOL = {
    "inception": "torch-fidelity Inception 2015, 2048 features, torchmetrics",
    "thumbnail": "linnet thumbnail-1: 6 x 6 area means, RGB in 0..1",
    "texture": "linnet texture-1: gradients at 2 scales and colour spread in 4 x 4 cells",
}


class WeightsError(LinnetError):
    """The weights of a feature network are not there, or are not what they should be."""


class Inception(torch.nn.Module):
    """The network, and which weights it has: only the published ones make FID and KID."""

    def __init__(self, network: torch.nn.Module, sha256: str) -> None:
        super().__init__()
        self.network, self.sha256 = network, sha256
        self.is_published = sha256.startswith(INCEPTION_SHA256_START)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: these statistics never change."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network(images)
        return features


def extract(
    features: ImageFeatures,
    images: NDArray[np.uint8],
    *,
    batch_size: int,
    device: torch.device,
    inception: Inception | None,
) -> Iterator[Tensor]:
    """Feature batches, float64 [<= batch_size, d], of uint8 images [N, H, W, 3]."""
    for start in range(0, len(images), batch_size):
        batch = torch.from_numpy(np.array(images[start : start + batch_size])).to(device).permute(0, 3, 1, 2)
        match features:
            case "thumbnail":
                yield thumbnail(batch)
            case "texture":
                yield texture(batch)
            case "inception":
                assert inception is not None, "the caller loads the weights"
                with torch.inference_mode():
                    yield inception(batch).double()
            case _:
                assert_never(features)


def thumbnail(images: Tensor) -> Tensor:
    """uint8 [B, 3, H, W] -> float64 [B, 108]: what is where, coarsely."""
    return F.adaptive_avg_pool2d(images.double() / 255, THUMBNAIL).flatten(1)


def texture(images: Tensor) -> Tensor:
    """uint8 [B, 3, H, W] -> float64 [B, 96]: how rough and how colourful each part is, at two scales.

    Root mean square of horizontal and vertical luminance differences, of full and of halved images, and the standard
    deviation of two colour differences, each in 4 x 4 cells.
    """
    x = images.double() / 255
    weights = torch.tensor(LUMINANCE, dtype=x.dtype, device=x.device)[:, None, None]
    luminance = (x * weights).sum(dim=1, keepdim=True)
    colour = torch.cat([x[:, :1] - luminance, x[:, 2:] - luminance], dim=1)
    parts = []
    for scale in (1, 2):
        shrunk = F.avg_pool2d(luminance, scale)
        parts += [_cell_rms(shrunk.diff(dim=-1)), _cell_rms(shrunk.diff(dim=-2))]
    mean = F.adaptive_avg_pool2d(colour, CELLS)
    square = F.adaptive_avg_pool2d(colour**2, CELLS)
    parts.append((square - mean**2).clamp(min=0).sqrt().flatten(1))
    return torch.cat(parts, dim=1)


def _cell_rms(x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(x**2, CELLS).sqrt().flatten(1)


def load_inception(weights: Path | None, sha256: str | None, device: torch.device) -> Inception:
    """The 2015 Inception network that FID and KID are defined by: uint8 [B, 3, H, W] -> [B, 2048].

    Args and Raises: as of `find_inception`.
    """
    path, found = find_inception(weights, sha256)
    from torchmetrics.image.fid import NoTrainInceptionV3

    network: torch.nn.Module = NoTrainInceptionV3(
        name="inception-v3-compat",
        features_list=["2048"],
        feature_extractor_weights_path=str(path),
        antialias=False,  # torch-fidelity's resize, which published scores use; torchmetrics 1.8 changed its default
    )
    network.to(device)
    return Inception(network, found).eval()


def find_inception(weights: Path | None, sha256: str | None) -> tuple[Path, str]:
    """The file with Inception's weights, and its sha256.

    Args:
        weights: the file; None looks for it in torch's hub folder and, failing that, downloads it there once.
        sha256: what the file must hash to; None accepts the published file only.

    Raises:
        WeightsError: no file and no network, or a file with another hash.
    """
    path = weights or Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
    if not path.is_file():
        if weights is not None:
            raise WeightsError(f"{path}: no such file; give the Inception weights ({INCEPTION_FILE})")
        _download_inception(path)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not (found == sha256 if sha256 else found.startswith(INCEPTION_SHA256_START)):
        wanted = sha256 or INCEPTION_SHA256_START + "..."
        raise WeightsError(
            f"{path}: sha256 is {found}, wanted {wanted}; fetch the file again or give its --inception-sha256"
        )
    return path, found


def _download_inception(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(INCEPTION_URL, str(path), hash_prefix=INCEPTION_SHA256_START, progress=False)
    except (OSError, RuntimeError) as reason:
        raise WeightsError(
            f"FID and KID need the Inception weights, and they cannot be downloaded here ({reason}): put the file "
            f"{INCEPTION_FILE} from {INCEPTION_URL} at {path}, or give its path with --inception-weights, or take "
            "'inception' out of [evaluate] features."
        ) from None
