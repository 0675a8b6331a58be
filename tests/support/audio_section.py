"""A [data] section for audio, to be changed with `model_copy`."""

from linnet.recipe import STFT, Audio, ComplexSpectrogram, SeededSplit

AUDIO = Audio(
    kind="audio",
    folder="music",
    builtin="music",
    labels_column="labels",
    label_separator="|",
    caption_column="",
    sample_rate_hz=8000,
    stft=STFT(window_samples=64, hop_samples=16, keep_dc=False),
    representation=ComplexSpectrogram(kind="complex"),
    num_frames=16,
    stride_frames=16,
    silence_dbfs=-60.0,
    storage="waveform",
    split=SeededSplit(kind="seeded", train_fraction=0.8, seed=0),
    max_rejected_fraction=0.1,
)
