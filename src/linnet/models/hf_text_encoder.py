"""A frozen text encoder from Hugging Face: one pooled vector for each text, computed outside the network."""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linnet.errors import LinnetError, first_line
from linnet.recipe import HuggingFaceTextEncoder

CACHED_TEXTS = 65_536


class TextEncoderError(LinnetError):
    """The frozen text encoder cannot be loaded, or is not what the recipe says."""


class FrozenTextEncoder:
    """Loads the encoder when the first text comes, and caches the vectors of the last texts."""

    def __init__(self, section: HuggingFaceTextEncoder, device: torch.device) -> None:
        self._section, self._device = section, device
        self._loaded: tuple[Any, Any] | None = None
        self._cached = lru_cache(maxsize=CACHED_TEXTS)(self._pool)

    def encode(self, texts: list[str]) -> Tensor:
        """float32 [len(texts), width]; zeros, the null condition, for an empty text. Raises TextEncoderError."""
        rows = [self._cached(text.strip()) for text in texts]
        return torch.from_numpy(np.stack(rows)).to(self._device)

    def _pool(self, text: str) -> NDArray[np.float32]:
        """The mean of the last hidden states over the tokens; each text alone, so that it does not depend on its batch.

        An array, because a tensor made in inference mode could not be trained on later.
        """
        if not text:
            return np.zeros(self._section.width, dtype=np.float32)
        if self._loaded is None:
            self._loaded = _load(self._section, self._device)
        tokenizer, encoder = self._loaded
        tokens = tokenizer(text, truncation=True, max_length=self._section.max_tokens, return_tensors="pt")
        mask = tokens["attention_mask"].to(self._device)
        with torch.no_grad(), torch.autocast(self._device.type, enabled=False):
            hidden = encoder(input_ids=tokens["input_ids"].to(self._device), attention_mask=mask).last_hidden_state
        if hidden.shape[-1] != self._section.width:
            raise TextEncoderError(
                f"[conditioning.encoder] width = {self._section.width}, but '{self._section.model}' gives "
                f"{hidden.shape[-1]} numbers. Set width = {hidden.shape[-1]}."
            )
        weights = mask[0, :, None].float()
        pooled: NDArray[np.float32] = ((hidden[0] * weights).sum(dim=0) / weights.sum().clamp(min=1)).cpu().numpy()
        return pooled


def _load(section: HuggingFaceTextEncoder, device: torch.device) -> tuple[Any, Any]:
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError:
        raise TextEncoderError(
            "[conditioning.encoder] kind = 'hugging_face' needs transformers, which is not installed here: "
            "install linnet with its extra 'text' (`make setup` does)"
        ) from None
    try:
        with torch.random.fork_rng(devices=[]):  # layers that the file lacks are initialised at random
            tokenizer = AutoTokenizer.from_pretrained(section.model, revision=section.revision)
            model = AutoModel.from_pretrained(section.model, revision=section.revision, dtype=torch.float32)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as reason:
        raise TextEncoderError(
            f"[conditioning.encoder] model = '{section.model}', revision = '{section.revision}' cannot be loaded "
            f"({first_line(reason)}). Give an id on Hugging Face that can be reached from here, or the folder of a "
            "downloaded encoder."
        ) from None
    # Only for T5 and its like: of an encoder alone, get_encoder gives the layers without the token embedding.
    encoder = model.get_encoder() if model.config.is_encoder_decoder else model
    return tokenizer, encoder.to(device).eval().requires_grad_(False)
