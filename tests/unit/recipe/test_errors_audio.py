"""Mistakes in recipes for audio: what does not fit a spectrogram, a network, or one another."""

from pathlib import Path

import pytest

from linnet.recipe.load import RecipeError, parse_recipe
from linnet.recipe.restore import degradation_classes

RECIPES = Path(__file__).parents[3] / "recipes"
VOCALS, MUSIC = ((RECIPES / f"{name}.toml").read_text(encoding="utf-8") for name in ("vocals-demo", "music-demo"))


def error_of(text: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, where="recipes/audio.toml", overrides=overrides)
    return str(caught.value)


def degradation(kind: str, values: str, *, noise_std: float = 0.0) -> str:
    return f"restore.degradations=[{{ name = 'a', kind = '{kind}', noise_std = {noise_std}, {values} }}]"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "data.stft.hop_samples=129",
            "[data.stft] hop_samples = 129 is more than half of window_samples = 256: the waveform could not be "
            "reconstructed",
        ),
        ("data.stft.keep_dc=true", "[data] makes examples of 129 x "),
        (
            "conditioning={ kind = 'class_label', num_classes = 4, dropout = 0.1 }",
            "[conditioning] kind = 'class_label', but a recording has several labels or none. Use 'multi_label', 'tex",
        ),
        (
            "conditioning={ kind = 'multi_label', num_labels = 4, dropout = 0.1 }",
            "[conditioning] kind = 'multi_label' needs [data] labels_column; it is empty.",
        ),
        ("train.horizontal_flip=true", "[train] horizontal_flip = true would play audio backwards. Set it to false."),
        (
            'evaluate.features=["thumbnail"]',
            "[evaluate] features has 'thumbnail', which [data] kind = 'audio' does not have. Use some of log_mel, vggi",
        ),
        (
            'evaluate.features=["log_mel", "vggish", "scripted"]',
            "[evaluate] features has both 'vggish' and 'scripted'; one weights file can be given.",
        ),
        (
            degradation("super_resolution", "factor = 2"),
            "[restore] degradation 'a': this kind is not for audio, which know ",
        ),
        (
            degradation("inpaint_bins", "low_hz = 500.0, high_hz = 500.0"),
            "[restore.degradations[0]] the band from low_hz = 500 to high_hz = 500 is empty.",
        ),
        (
            degradation("inpaint_bins", "low_hz = 4000.0, high_hz = 5000.0"),
            "[restore] degradation 'a': 4000 Hz is beyond what sample_rate_hz = 8000 holds, 4000 Hz.",
        ),
        (
            degradation("inpaint_bins", "low_hz = 500.0, high_hz = 530.0"),
            "[restore] degradation 'a': a band from 500 to 530 Hz takes away nothing or everything. Bins are 31.25",
        ),
        (
            degradation("inpaint_bins", "low_hz = 31.25, high_hz = 4001.0"),
            "[restore] degradation 'a': a band from 31.25 to 4001 Hz takes away nothing or everything.",
        ),
        (
            degradation("bandwidth_extension", "cutoff_hz = 31.25"),
            "[restore] degradation 'a': above 31.25 Hz is everything; the lowest bin has 31.25 Hz.",
        ),
        (
            degradation("bandwidth_extension", "cutoff_hz = 4000.0"),
            "[restore] degradation 'a': 4000 Hz is beyond what sample_rate_hz = 8000 holds, 4000 Hz.",
        ),
        (
            degradation("inpaint_frames", "start_seconds = 60.0, gap_seconds = 0.5"),
            "[restore] degradation 'a': the gap ends at 60.5 s, an example is 0.",
        ),
        (
            degradation("inpaint_frames", "start_seconds = 0.01, gap_seconds = 0.23"),
            "[restore] degradation 'a': every window of 0.032 s in an example of 0.248 s reaches into the gap",
        ),
        (
            degradation("blind_dereverberation", "reverberation_seconds = 0.3, filter_frames = 1000"),
            "[restore] degradation 'a': filter_frames = 1000 is more than num_frames = ",
        ),
        (
            "restore.degradations=[{ name = 'a', kind = 'denoise', noise_std = 0.1 }, "
            "{ name = 'b', kind = 'denoise', noise_std = 0.1 }, { name = 'a', kind = 'denoise', noise_std = 0.2 }]",
            "[restore] two degradations have the name 'a': their scores could not be told apart.",
        ),
        (
            "model.channel_multipliers=[1, 2]",
            "[model] attention_heads_by_level has 4 entries, channel_multipliers has 2: give one entry per level.",
        ),
        ("model.middle_attention_heads=5", "[model] 5 attention heads do not divide a level of "),
        ("model.attention_heads_by_level=[3, 0, 0, 0]", "[model] 3 attention heads do not divide a level of "),
        ("model.norm_groups=5", "[model] norm_groups = 5 does not divide a level of "),
    ],
)
def test_settings_of_audio_that_contradict_each_other(override: str, message: str) -> None:
    assert error_of(VOCALS, override).startswith(f"recipes/audio.toml: {message}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "data.labels_column=",
            "[conditioning] kind = 'text' needs [data] labels_column or caption_column; both are empty.",
        ),
        (
            "sample.length={ kind = 'longer', duration_seconds = 0.1, overlap_fraction = 0.5 }",
            "[sample] length duration_seconds = 0.1 is less than a training example has, ",
        ),
        ("model.num_heads=3", "[model] num_heads = 3 does not divide width = 128."),
        ("conditioning.encoder.num_heads=3", "[conditioning.encoder] num_heads = 3 does not divide width = 64."),
        (
            "restore.degradations=[{ name = 'a', kind = 'denoise', noise_std = 0.1 }]",
            "[restore] degradation 'a': this kind is not for magnitude spectrograms, which know ",
        ),
        (
            degradation("bandwidth_extension", "cutoff_hz = 1000.0", noise_std=0.1),
            "[restore] degradation 'a': noise does not add in magnitude spectrograms. Set noise_std = 0.0.",
        ),
    ],
)
def test_settings_of_magnitudes_and_words_that_contradict_each_other(override: str, message: str) -> None:
    assert error_of(MUSIC, override).startswith(f"recipes/audio.toml: {message}")


def test_a_channel_a_group_would_forget_the_timestep() -> None:
    message = "recipes/audio.toml: [model] norm_groups = 16 must divide channels = 16 and be less: with one channel a"
    assert error_of(VOCALS, "model.channels=16", "model.norm_groups=16").startswith(message)


@pytest.mark.parametrize(
    ("degradations", "messages"),
    [
        (
            "{ name = 'a', kind = 'denoise', noise_sdt = 0.1 }",
            [
                "key 'noise_std' is missing in [restore.degradations[0]]; add it (a recipe has no defaults)",
                "unknown key 'noise_sdt' in [restore.degradations[0]]; did you mean 'noise_std'?",
            ],
        ),
        (
            "{ name = 'a', kind = 'denoise', noise_std = 0.1 }, { name = 'b', kind = 'denoise', noise_std = 0.0 }",
            ["noise_std = 0.0 in [restore.degradations[1]]: it should be greater than 0"],
        ),
        (
            "{ name = 'a', kind = 'denoize', noise_std = 0.1 }",
            ["[restore.degradations[0]] kind = 'denoize' is unknown; did you mean 'denoise'?"],
        ),
        (
            "{ name = 'a', noise_std = 0.1 }",
            [
                "[restore.degradations[0]] has no 'kind'; choose one of "
                + ", ".join(f"'{kind}'" for kind in degradation_classes())
            ],
        ),
    ],
)
def test_a_mistake_in_a_list_of_tables_names_the_entry(degradations: str, messages: list[str]) -> None:
    assert error_of(VOCALS, f"restore.degradations=[{degradations}]").splitlines() == [
        f"recipes/audio.toml: {m}" for m in messages
    ]


def test_the_unconditional_mode_needs_dropout() -> None:
    """Guidance and restoration use the model without its condition, which it learns where that is dropped."""
    never = "conditioning.dropout=0.0"
    assert error_of(MUSIC, never) == (
        "recipes/audio.toml: [sample] guidance_scale = 1.7 needs predictions without a condition, which "
        "[conditioning] dropout = 0 never trains. Set dropout = 0.1 or guidance_scale = 1.0."
    )
    assert error_of(MUSIC, never, "sample.guidance_scale=1.0") == (
        "recipes/audio.toml: [restore] needs predictions without a condition, which [conditioning] dropout = 0 never "
        "trains. Set dropout = 0.1 or degradations = []."
    )
    parse_recipe(MUSIC, where="", overrides=[never, "sample.guidance_scale=1.0", "restore.degradations=[]"])
