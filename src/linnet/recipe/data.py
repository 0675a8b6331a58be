"""[data]: which files become training arrays, and how."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from linnet.recipe.section import FolderName, Fraction, Section


class SeededSplit(Section):
    """A random split that depends on nothing but the seed and the list of images or recordings."""

    kind: Literal["seeded"]
    train_fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: NonNegativeInt


class OfficialSplit(Section):
    """The data set's own train/test split."""

    kind: Literal["official"]


Split = Annotated[SeededSplit | OfficialSplit, Field(discriminator="kind")]
Shape = tuple[int, int, int]  # channels, height, width


ExifOrientation = Literal["apply", "ignore"]


class CaltechLayout(Section):
    """The index files, boxes and class folders of Caltech-UCSD Birds-200-2011; the built-in birds have it too."""

    kind: Literal["caltech"]
    # "ignore" where boxes are given in stored pixels. Few files are turned, so recipes may leave it out.
    exif_orientation: ExifOrientation = "apply"


ImageLayout = CaltechLayout  # with a second one: Annotated[CaltechLayout | ..., Field(discriminator="kind")]


class Images(Section):
    """Images as squares, each cut around its bounding box where the layout gives one."""

    kind: Literal["images"]
    folder: FolderName  # below data/
    layout: ImageLayout  # how the files lie in the folder
    image_size_pixels: Annotated[int, Field(ge=8, le=1024, multiple_of=8)]
    split: Split
    max_rejected_fraction: Fraction  # of all listed images; beyond it preprocess fails

    @property
    def shape(self) -> Shape:
        """Of one example as the network sees it: channels, height, width."""
        return 3, self.image_size_pixels, self.image_size_pixels


class STFT(Section):
    """A short-time Fourier transform with a Hann window."""

    window_samples: Annotated[int, Field(ge=8, le=8192, multiple_of=2)]
    hop_samples: Annotated[int, Field(ge=1)]
    keep_dc: bool  # the bin of frequency 0; without it window_samples / 2 bins are left, an even number

    @model_validator(mode="after")
    def _windows_overlap(self) -> Self:
        if self.hop_samples * 2 > self.window_samples:
            raise ValueError(
                f"hop_samples = {self.hop_samples} is more than half of window_samples = {self.window_samples}: the "
                "waveform could not be reconstructed. Use a quarter of the window."
            )
        return self

    @property
    def num_bins(self) -> int:
        """Frequencies of a frame."""
        return self.window_samples // 2 + (1 if self.keep_dc else 0)


class ComplexSpectrogram(Section):
    """Real and imaginary part as two channels: linear in the waveform, as restoration needs it."""

    kind: Literal["complex"]


class MagnitudeSpectrogram(Section):
    """|STFT|^exponent as one channel; the phase is estimated for decoding."""

    kind: Literal["magnitude"]
    exponent: Annotated[float, Field(gt=0, le=1)]  # 1: as it is; below 1 raises quiet bins
    phase_iterations: PositiveInt  # of Griffin-Lim


Representation = Annotated[ComplexSpectrogram | MagnitudeSpectrogram, Field(discriminator="kind")]


class Audio(Section):
    """Windows of recordings as spectrograms (Hugging Face's audiofolder layout, or a data set of its hub)."""

    kind: Literal["audio"]
    folder: FolderName  # below data/
    builtin: Literal["music", "voices"]  # what ingest makes where it is given no source
    labels_column: str  # of metadata.csv; "" for none. Several labels a recording
    label_separator: Annotated[str, Field(min_length=1, max_length=3, pattern=r"^[^\x00-\x1f]+$")]
    caption_column: str  # of metadata.csv; "" for none
    sample_rate_hz: Annotated[int, Field(ge=4000, le=96_000)]
    stft: STFT
    representation: Representation
    num_frames: Annotated[int, Field(ge=2)]
    stride_frames: PositiveInt  # from the start of one window of a recording to the start of the next
    silence_dbfs: Annotated[float, Field(le=0)]  # windows quieter than this (root mean square) are left out
    storage: Literal["waveform", "spectrogram"]  # 16-bit samples or finished spectrograms; the same training results
    split: Split  # of recordings: windows of one recording never land in both
    max_rejected_fraction: Fraction  # of all listed recordings; beyond it preprocess fails

    @property
    def shape(self) -> Shape:
        """Of one example as the network sees it: channels, frequencies, frames."""
        return (2 if self.representation.kind == "complex" else 1), self.stft.num_bins, self.num_frames

    @property
    def window_samples(self) -> int:
        """Of one example's waveform; the first and the last frame are centred on its ends."""
        return (self.num_frames - 1) * self.stft.hop_samples


DataSection = Annotated[Images | Audio, Field(discriminator="kind")]
