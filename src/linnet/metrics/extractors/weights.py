"""Files of weights that feature extractors need: where they come from, and that they are what they should be."""

from dataclasses import dataclass
from pathlib import Path

import torch

from linnet.errors import LinnetError
from linnet.hashes import file_hash
from linnet.recipe.evaluate import LearnedFeatures

EMBEDDING_OPTION = "--embedding-weights (LINNET_EMBEDDING_WEIGHTS)"
INCEPTION_OPTION = "--inception-weights (LINNET_INCEPTION_WEIGHTS)"


class WeightsError(LinnetError):
    """The weights of a feature extractor are not there, or are not what they should be."""


@dataclass(frozen=True)
class Weights:
    """A file whose hash is known to be the right one."""

    path: Path
    sha256: str
    is_published: bool  # they are those that published numbers are measured with


@dataclass(frozen=True)
class PublishedWeights:
    """The weights that a published metric is defined by."""

    features: LearnedFeatures
    network: str
    metrics: str  # which distances need them, such as "FID and KID"
    file: str  # its name at the source
    url: str
    sha256_start: str
    option: str  # with which a user gives the file
    is_downloaded: bool  # where it is not there; else the user is asked to fetch it

    def find(self, path: Path | None, sha256: str | None) -> Weights:
        """The file at `path`, or in torch's hub folder where `path` is None.

        Args:
            path: the file.
            sha256: what it must hash to; None accepts the published file only.

        Raises:
            WeightsError: there is no such file, or it has another hash.
        """
        location = path or Path(torch.hub.get_dir()) / "checkpoints" / self.file
        if path is not None and not path.is_file():
            raise WeightsError(
                f"{path}: no such file; give {self.network}'s weights ({self.file} from {self.url}) with {self.option}"
            )
        if not location.is_file():
            self._download(location)
        found = verified_hash(location, sha256, start=self.sha256_start, option=self.option)
        return Weights(location, found, is_published=found.startswith(self.sha256_start))

    def _download(self, location: Path) -> None:
        if not self.is_downloaded:
            raise self._missing(location, "")
        location.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(self.url, str(location), hash_prefix=self.sha256_start, progress=False)
        except (OSError, RuntimeError) as reason:
            raise self._missing(location, f", and they cannot be downloaded here ({reason})") from None

    def _missing(self, location: Path, why: str) -> WeightsError:
        return WeightsError(
            f"{self.metrics} need {self.network}'s weights{why}: put the file {self.file} from {self.url} at "
            f"{location}, or give its path with {self.option}, or take '{self.features}' out of [evaluate] features."
        )


def verified_hash(path: Path, sha256: str | None, *, start: str, option: str) -> str:
    """The hash of the file at `path`, which must be `sha256`, or start with `start` where `sha256` is None.

    Raises:
        WeightsError: it has another.
    """
    found = file_hash(path)
    if not (found == sha256 if sha256 else found.startswith(start)):
        hash_option = option.partition(" ")[0].replace("-weights", "-sha256")
        raise WeightsError(
            f"{path}: sha256 is {found}, expected {sha256 or start + '...'}; fetch the file again or give its "
            f"{hash_option}"
        )
    return found
