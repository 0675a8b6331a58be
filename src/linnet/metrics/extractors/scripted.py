"""scripted: the features of any TorchScript file that maps waveforms to vectors."""

import warnings
from pathlib import Path

import torch
from torch import Tensor

from linnet.metrics.extractors.base import AudioExtractor, LearnedExtractor
from linnet.metrics.extractors.weights import EMBEDDING_OPTION, Weights, WeightsError, verified_hash


class ScriptedFeatures(LearnedExtractor, AudioExtractor):
    """One vector of each waveform, from a network made for the recipe's sample rate."""

    name = "scripted"
    definition = "TorchScript file"

    @classmethod
    def find_weights(cls, path: Path | None, sha256: str | None) -> Weights:
        """Any file, where `sha256` is None."""
        if path is None:
            raise WeightsError(
                "'scripted' features need a TorchScript file that maps waveforms [B, samples] to [B, d]: give its path "
                f"with {EMBEDDING_OPTION}, or take 'scripted' out of [evaluate] features."
            )
        if not path.is_file():
            raise WeightsError(f"{path}: no such file; give a TorchScript file with {EMBEDDING_OPTION}")
        found = verified_hash(path, sha256, start="", option=EMBEDDING_OPTION)
        return Weights(path, found, is_published=False)

    @staticmethod
    def load(path: Path) -> torch.nn.Module:
        """The network in the TorchScript file at `path`. Raises WeightsError where it holds something else."""
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", r"`torch\.jit\.load` is deprecated", DeprecationWarning)
                network: torch.nn.Module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError):
            raise WeightsError(
                f"{path}: not a TorchScript file, or a damaged one; write it with torch.jit.script(module).save(path)"
            ) from None
        return network

    def extract(self, waveforms: Tensor) -> Tensor:
        """Float32 [B, samples] in -1..1 -> float64 [B, 1, d].

        Raises:
            WeightsError: the network gives something else than one vector each, or numbers that are not finite.
        """
        with torch.no_grad():
            vectors = self.network(waveforms)
        count = len(waveforms)
        if not isinstance(vectors, Tensor) or vectors.ndim != 2 or len(vectors) != count:
            shape = f"shape {tuple(vectors.shape)}" if isinstance(vectors, Tensor) else type(vectors).__name__
            raise WeightsError(
                f"the embedding with sha256 {self.weights.sha256[:8]}... gave {shape} for {count} waveforms instead of "
                f"one vector each, [{count}, d]; script a module that maps waveforms [B, samples] to [B, d]"
            )
        self.check_finite(vectors)
        return vectors[:, None].double()
