"""The demo recipes made so small that every stage takes a second or two."""

from pathlib import Path
from typing import Literal, assert_never

from linnet.data.synthetic.birds import make_birds
from linnet.data.synthetic.music import make_music
from linnet.data.synthetic.voices import make_voices
from linnet.recipe import Recipe
from linnet.recipe.load import parse_recipe

ROOT = Path(__file__).parents[2]
SHORT = (
    "diffusion.schedule.num_timesteps=50",
    "train.duration_kexamples=0.096",
    "train.batch_size=4",
    "train.warmup_kexamples=0.016",
    "train.log_every_steps=5",
    "train.grid_every_kexamples=0.04",
    "train.precision=fp32",
    "train.optimizer={ kind = 'adamw', beta1 = 0.9, beta2 = 0.99, weight_decay = 0.01 }",
    "train.learning_rate=0.0015",
    "train.learning_rate_decay=none",
    "train.ema_decay=0.995",
    "sample.sampler.num_steps=5",
    "sample.sampler.spacing=trailing",
    "sample.num_samples=12",
    "sample.num_files=3",
    "sample.precision=fp32",
    "restore.num_examples=2",
    "restore.num_draws=1",
    "restore.num_steps=3",
    "restore.spacing=trailing",
    "restore.precision=fp32",
    "evaluate.kernel_subsets=2",
    "evaluate.kernel_subset_size=6",
    "register.gate.max_ratio_to_noise=1000.0",  # two dozen steps teach nothing
)
BIRDS = (
    "name=birds-tiny",
    "data.image_size_pixels=16",
    "model.stem_channels=8",
    "model.embedding_dims=8",
    "model.widths=[16, 32]",
    "model.attention_heads_by_level=[0, 2]",
    "conditioning.num_classes=8",
    "register.model_name=linnet-birds-tiny",
)
AUDIO = (  # windows of 30 ms: 32 frequencies, 16 frames
    "data.sample_rate_hz=8000",
    "data.stft={ window_samples = 64, hop_samples = 16, keep_dc = false }",
    "data.num_frames=16",
    "data.stride_frames=64",
)
VOCALS = (
    "name=vocals-tiny",
    "model.channels=16",
    "model.channel_multipliers=[1, 2]",
    "model.attention_heads_by_level=[0, 0]",
    "model.middle_attention_heads=1",
    "model.norm_groups=8",
    "model.frequency_layer={ kind = 'none' }",
    "restore.degradations=["
    "{ name = 'missing_band', kind = 'inpaint_bins', low_hz = 1000.0, high_hz = 2000.0, noise_std = 0.0 }, "
    "{ name = 'noisy', kind = 'denoise', noise_std = 0.05 }]",
    "register.model_name=linnet-vocals-tiny",
)
MUSIC = (
    "name=music-tiny",
    "data.storage=waveform",
    "data.representation.phase_iterations=4",
    "model.width=16",
    "model.num_blocks=1",
    "model.num_heads=2",
    "model.mlp_ratio=2",
    "conditioning.encoder={ kind = 'trained', num_buckets = 64, width = 8, num_heads = 1, max_words = 4 }",
    "sample.length={ kind = 'longer', duration_seconds = 0.05, overlap_fraction = 0.5 }",  # 26 frames
    "sample.guidance_scale=1.5",
    "restore.degradations=["
    "{ name = 'missing_band', kind = 'inpaint_bins', low_hz = 1000.0, high_hz = 2000.0, noise_std = 0.0 }, "
    "{ name = 'gap', kind = 'inpaint_frames', start_seconds = 0.01, gap_seconds = 0.006, noise_std = 0.0 }]",
    "register.model_name=linnet-music-tiny",
)


def tiny_recipe(*overrides: str) -> Recipe:
    """Birds: 16 x 16 pixels and their classes; with more `section.key=value` changes."""
    return _tiny("birds-demo", (*SHORT, *BIRDS, *overrides))


def tiny_audio_recipe(*overrides: str) -> Recipe:
    """Vocals: complex spectrograms, an unconditional U-Net."""
    return _tiny("vocals-demo", (*SHORT, *AUDIO, *VOCALS, *overrides))


def tiny_music_recipe(*overrides: str) -> Recipe:
    """Music: magnitudes, a DiT that reads text, samples longer than a training example."""
    return _tiny("music-demo", (*SHORT, *AUDIO, *MUSIC, *overrides))


def _tiny(demo: str, overrides: tuple[str, ...]) -> Recipe:
    text = (ROOT / "recipes" / f"{demo}.toml").read_text()
    return parse_recipe(text, where="tiny", overrides=overrides)


def write_recipe(folder: Path, recipe: Recipe) -> Path:
    """The recipe as a file, for the command line."""
    import tomlkit

    path = folder / f"{recipe.name}.toml"
    values = recipe.model_dump(mode="json", by_alias=True)
    path.write_text(tomlkit.dumps(values))
    return path


def write_tiny_recipe(folder: Path, *overrides: str) -> Path:
    """The recipe of `tiny_recipe` as a file."""
    return write_recipe(folder, tiny_recipe(*overrides))


def tiny_raw_data(folder: Path) -> Path:
    """Make 40 images of synthetic birds."""
    make_birds(folder, per_species=5)
    return folder


def tiny_audio_data(folder: Path, kind: Literal["voices", "music"]) -> Path:
    """Make eight recordings of about a second: some 100 windows."""
    match kind:
        case "voices":
            make_voices(folder, num_utterances=8)
        case "music":
            make_music(folder, num_recordings=8, seconds=1.0)
        case _:
            assert_never(kind)
    return folder
