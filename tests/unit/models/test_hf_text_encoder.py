"""Frozen text encoders of Hugging Face: tiny ones with random weights, written to disk and read back."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from linnet.models.conditioning import ConditionEncoder
from linnet.models.hf_text_encoder import TextEncoderError
from linnet.recipe import HuggingFaceTextEncoder, Text

transformers = pytest.importorskip("transformers")
PADDING, UNKNOWN = "[PAD]", "[UNK]"
WORDS = [PADDING, UNKNOWN, "slow", "piano", "rain", "on", "the", "roof"]
WIDTH = 16


def save_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token=UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token=PADDING, unk_token=UNKNOWN).save_pretrained(
        folder
    )


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    save_tokenizer(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=16,
    )
    transformers.BertForMaskedLM(config).save_pretrained(folder)  # lacks a layer that BertModel initialises at random
    return folder


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("t5")
    save_tokenizer(folder)
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=len(WORDS), d_model=WIDTH, d_kv=8, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    transformers.T5Model(config).save_pretrained(folder)
    return folder


def encoder(model: Path, *, width: int = WIDTH, max_tokens: int = 8) -> ConditionEncoder:
    section = HuggingFaceTextEncoder(
        kind="hugging_face", model=str(model), revision="main", width=width, max_tokens=max_tokens
    )
    return ConditionEncoder(Text(kind="text", encoder=section, dropout=0.1), label_names=[], device=torch.device("cpu"))


def encode(condition_encoder: ConditionEncoder, *texts: str | None) -> Tensor:
    found = condition_encoder.encode(texts)
    assert found is not None
    return found


def test_the_mean_of_the_hidden_states_of_an_encoder(bert: Path) -> None:
    model = transformers.BertModel.from_pretrained(bert).eval()
    with torch.no_grad():
        expected = model(torch.tensor([[2, 3, 1]])).last_hidden_state[0].mean(dim=0)
    found = encode(encoder(bert), "slow piano unheard")
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected[None], rtol=1e-6, atol=1e-6)


def test_of_an_encoder_and_decoder_only_the_encoder_is_used(t5: Path) -> None:
    model = transformers.T5EncoderModel.from_pretrained(t5).eval()
    with torch.no_grad():
        expected = model(torch.tensor([[4, 5, 6, 7]])).last_hidden_state[0].mean(dim=0)
    torch.testing.assert_close(encode(encoder(t5), "rain on the roof"), expected[None], rtol=1e-6, atol=1e-6)


def test_neither_the_batch_of_a_text_nor_repetition_changes_it(bert: Path) -> None:
    together, alone = encoder(bert), encoder(bert)
    rows = encode(together, "rain", "slow piano rain on the roof", "rain")
    assert torch.equal(rows[0], rows[2])
    assert torch.equal(rows[:1], encode(alone, "rain"))
    assert torch.equal(rows[1:2], encode(alone, " slow piano rain on the roof "))


def test_texts_are_cut_at_max_tokens(bert: Path) -> None:
    assert torch.equal(encode(encoder(bert, max_tokens=2), "slow piano rain"), encode(encoder(bert), "slow piano"))


def test_empty_texts_are_zeros_and_load_nothing(tmp_path: Path) -> None:
    nowhere = encoder(tmp_path / "nowhere")
    assert torch.equal(encode(nowhere, "", None, "  "), torch.zeros(3, WIDTH))
    assert torch.equal(nowhere.null_condition(2), torch.zeros(2, WIDTH))


def test_what_was_encoded_in_inference_mode_can_be_trained_on_later(bert: Path) -> None:
    """A grid of samples comes before the next training step; a cached inference tensor would break it."""
    frozen, layer = encoder(bert), nn.Linear(WIDTH, 2)
    with torch.inference_mode():
        encode(frozen, "rain")
    layer(encode(frozen, "rain")).sum().backward()
    assert layer.weight.grad is not None


def test_loading_leaves_the_random_numbers_alone(bert: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    encode(encoder(bert), "rain")
    assert torch.equal(torch.rand(3), expected)


def test_another_width_is_refused(bert: Path) -> None:
    with pytest.raises(TextEncoderError, match=r"width = 12, but .* gives 16 numbers. Set width = 16"):
        encode(encoder(bert, width=12), "rain")


def test_a_missing_encoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(TextEncoderError, match=r"nowhere', revision = 'main' cannot be loaded"):
        encode(encoder(tmp_path / "nowhere"), "rain")


def test_missing_transformers_are_named(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(TextEncoderError, match="install linnet with its extra 'text'"):
        encode(encoder(bert), "rain")
