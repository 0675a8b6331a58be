"""[restore]: how held-out examples are degraded, for the trained prior to bring them back."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from linnet.recipe.data import Audio, DataSection, MagnitudeSpectrogram
from linnet.recipe.sample import StepSpacing
from linnet.recipe.section import Fraction, OpenFraction, Section
from linnet.recipe.train import Precision

Modality = Literal["images", "audio", "magnitude spectrograms"]
FILE_DEFAULTS = {"name": "repair", "noise_std": 0.0}  # of every degradation of a file of somebody's own


def modality_of(data: DataSection) -> Modality:
    """What a degradation of this data is a degradation of."""
    match data:
        case Audio(representation=MagnitudeSpectrogram()):
            return "magnitude spectrograms"
        case Audio():
            return "audio"
        case _:
            return "images"


class Degradation(Section):
    """One way to degrade an example. Frequencies in Hz, times in seconds; noise where full scale (or white) is 1.

    What it computes is `linnet.inference.degradations.<kind>`.
    """

    modalities: ClassVar[tuple[Modality, ...]]  # what it can be applied to
    file_defaults: ClassVar[Mapping[str, Any]] = {}  # made up for held-out examples; a file of one's own has them

    kind: str
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]  # also seeds what is random in it
    noise_std: NonNegativeFloat  # of white noise on the observation, known to the restoration

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if not hasattr(cls, "modalities"):
            raise TypeError(f"{cls.__name__}: a degradation needs the class attribute modalities")

    def check_modality(self, data: DataSection) -> None:
        """Raises ValueError where this degradation is not for this kind of data."""
        modality = modality_of(data)
        if modality not in self.modalities:
            known = sorted(kind for kind, section in degradation_classes().items() if modality in section.modalities)
            raise self._mistake(f"this kind is not for {modality}, which know {', '.join(known)}.")
        if modality == "magnitude spectrograms" and self.noise_std:
            raise self._mistake(f"noise does not add in {modality}. Set noise_std = 0.0.")

    def check_reach(self, data: DataSection) -> None:
        """Raises ValueError where it takes away what an example of `data` does not have, or all of it."""

    def _mistake(self, words: str) -> ValueError:
        return ValueError(f"[restore] degradation '{self.name}': {words}")


class Denoise(Degradation):
    """Nothing is missing; there is noise."""

    modalities = ("images", "audio")

    kind: Literal["denoise"]
    noise_std: PositiveFloat


class InpaintPixels(Degradation):
    """Pixels are missing: a share of them at random, or a square in the middle with that share of the area."""

    modalities = ("images",)
    file_defaults: ClassVar[Mapping[str, Any]] = {"pattern": "random", "missing_fraction": 0.5}

    kind: Literal["inpaint_pixels"]
    pattern: Literal["random", "square"]
    missing_fraction: Annotated[float, Field(gt=0, lt=1)]


class InpaintBins(Degradation):
    """A band of frequencies is missing."""

    modalities = ("audio", "magnitude spectrograms")

    kind: Literal["inpaint_bins"]
    low_hz: NonNegativeFloat
    high_hz: PositiveFloat

    @model_validator(mode="after")
    def _is_a_band(self) -> Self:
        if self.low_hz >= self.high_hz:
            raise ValueError(f"the band from low_hz = {self.low_hz:g} to high_hz = {self.high_hz:g} is empty.")
        return self

    def check_reach(self, data: DataSection) -> None:
        """The band lies within the bins, and is neither narrower than one nor all of them."""
        assert isinstance(data, Audio), "the modality was checked"
        nyquist = _check_below_nyquist(self, self.low_hz, data)
        if self.high_hz - self.low_hz < _bin_width_hz(data) or (
            self.low_hz <= _lowest_bin_hz(data) and self.high_hz > nyquist
        ):
            raise self._mistake(
                f"a band from {self.low_hz:g} to {self.high_hz:g} Hz takes away nothing or everything. Bins are "
                f"{_bin_width_hz(data):g} Hz wide and reach to {nyquist:g} Hz."
            )


class InpaintFrames(Degradation):
    """A stretch of time is missing."""

    modalities = ("audio", "magnitude spectrograms")

    kind: Literal["inpaint_frames"]
    start_seconds: NonNegativeFloat
    gap_seconds: PositiveFloat

    def check_reach(self, data: DataSection) -> None:
        """The gap lies within an example and leaves frames that do not reach into it."""
        assert isinstance(data, Audio), "the modality was checked"
        start, end = self.start_seconds, self.start_seconds + self.gap_seconds
        seconds, half = data.window_samples / data.sample_rate_hz, data.stft.window_samples / 2 / data.sample_rate_hz
        if end >= seconds:
            raise self._mistake(f"the gap ends at {end:g} s, an example is {seconds:.3g} s long.")
        if start < half and end + half > seconds:
            raise self._mistake(
                f"every window of {2 * half:.3g} s in an example of {seconds:.3g} s reaches into the gap, so nothing "
                "of it is known. Make the gap shorter or the examples longer."
            )


class BandwidthExtension(Degradation):
    """All above a frequency is missing."""

    modalities = ("audio", "magnitude spectrograms")

    kind: Literal["bandwidth_extension"]
    cutoff_hz: PositiveFloat

    def check_reach(self, data: DataSection) -> None:
        """Some bins lie above the cutoff and some below."""
        assert isinstance(data, Audio), "the modality was checked"
        _check_below_nyquist(self, self.cutoff_hz, data)
        if self.cutoff_hz <= _lowest_bin_hz(data):
            raise self._mistake(
                f"above {self.cutoff_hz:g} Hz is everything; the lowest bin has {_lowest_bin_hz(data):g} Hz."
            )


class SuperResolution(Degradation):
    """Blocks of factor x factor pixels are known by their mean only."""

    modalities = ("images",)

    kind: Literal["super_resolution"]
    factor: Annotated[int, Field(ge=2)]

    def check_reach(self, data: DataSection) -> None:
        """The images consist of whole blocks."""
        _, height, width = data.shape
        if height % self.factor or width % self.factor:
            raise self._mistake(f"factor = {self.factor} does not divide images of {height} x {width}.")


class KnownReverb(Degradation):
    """A room that is known: every frequency convolved over time with a filter that decays by 60 dB in this time."""

    modalities = ("audio",)
    file_defaults: ClassVar[Mapping[str, Any]] = {"reverberation_seconds": 1.0}

    kind: Literal["known_reverb"]
    reverberation_seconds: PositiveFloat


class BlindDereverberation(Degradation):
    """A room that is not known: its filter is estimated together with the dry audio."""

    modalities = ("audio",)
    file_defaults: ClassVar[Mapping[str, Any]] = {"reverberation_seconds": 1.0}

    kind: Literal["blind_dereverberation"]
    reverberation_seconds: PositiveFloat  # of the room that degrades held-out examples; the restoration is not given it
    filter_frames: Annotated[int, Field(ge=2)]  # of the estimated filter

    def check_reach(self, data: DataSection) -> None:
        """The estimated filter is no longer than an example."""
        assert isinstance(data, Audio), "the modality was checked"
        if self.filter_frames > data.num_frames:
            raise self._mistake(f"filter_frames = {self.filter_frames} is more than num_frames = {data.num_frames}.")


DegradationSection = Annotated[
    Denoise
    | InpaintPixels
    | InpaintBins
    | InpaintFrames
    | BandwidthExtension
    | SuperResolution
    | KnownReverb
    | BlindDereverberation,
    Field(discriminator="kind"),
]


def degradation_classes() -> dict[str, type[Degradation]]:
    """All kinds of degradation, by the `kind` of a recipe."""
    classes: tuple[type[Degradation], ...] = get_args(get_args(DegradationSection)[0])
    return {get_args(section.model_fields["kind"].annotation)[0]: section for section in classes}


class RestoreSection(Section):
    """Restoration with the trained model as prior, by DDRM (Kawar et al. 2022)."""

    degradations: Annotated[tuple[DegradationSection, ...], Field(strict=False)]  # of held-out examples; may be none
    num_examples: PositiveInt
    num_draws: PositiveInt  # restorations of each example that are averaged: pixels, or magnitudes in decibels
    num_steps: PositiveInt
    spacing: StepSpacing
    eta: Fraction  # fresh noise where nothing was observed, and below the noise of the observation
    eta_b: Fraction  # trust in the observation above its noise
    below_noise: Literal["constant", "matched"]  # eta below the observation's noise: as given, or so that the mean fits
    overlap_fraction: OpenFraction  # of neighbouring windows, for what is longer than an example
    seed: NonNegativeInt
    weights: Literal["ema", "raw"]
    precision: Precision

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [degradation.name for degradation in self.degradations]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two degradations have the name '{twice[0]}': their scores could not be told apart.")
        return self


def _check_below_nyquist(degradation: Degradation, frequency_hz: float, data: Audio) -> float:
    """The highest frequency that `data` holds. Raises ValueError where `frequency_hz` is beyond it."""
    nyquist = data.sample_rate_hz / 2
    if frequency_hz >= nyquist:
        raise ValueError(
            f"[restore] degradation '{degradation.name}': {frequency_hz:g} Hz is beyond what sample_rate_hz = "
            f"{data.sample_rate_hz} holds, {nyquist:g} Hz."
        )
    return nyquist


def _bin_width_hz(data: Audio) -> float:
    return data.sample_rate_hz / data.stft.window_samples


def _lowest_bin_hz(data: Audio) -> float:
    return 0.0 if data.stft.keep_dc else _bin_width_hz(data)
