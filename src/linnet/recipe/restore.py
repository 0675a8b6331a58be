"""[restore]: what is taken away from held-out examples, for the trained prior to bring back."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from linnet.recipe.data import Audio, DataSection, MagnitudeSpectrogram
from linnet.recipe.section import Fraction, OpenFraction, Section
from linnet.recipe.train import Precision


class Task(Section):
    """One way to damage an example. Frequencies in Hz, times in seconds; noise where full scale (or white) is 1."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    noise_std: NonNegativeFloat  # of white noise on the observation, known to the restoration


class Denoise(Task):
    """Nothing is missing; there is noise."""

    kind: Literal["denoise"]
    noise_std: PositiveFloat


class InpaintPixels(Task):
    """Pixels are missing: a share of them at random, or a square in the middle with that share of the area."""

    kind: Literal["inpaint_pixels"]
    pattern: Literal["random", "square"]
    missing_fraction: Annotated[float, Field(gt=0, lt=1)]


class InpaintBins(Task):
    """A band of frequencies is missing."""

    kind: Literal["inpaint_bins"]
    low_hz: NonNegativeFloat
    high_hz: PositiveFloat

    @model_validator(mode="after")
    def _is_a_band(self) -> Self:
        if self.low_hz >= self.high_hz:
            raise ValueError(f"the band from low_hz = {self.low_hz:g} to high_hz = {self.high_hz:g} is empty.")
        return self


class InpaintFrames(Task):
    """A stretch of time is missing."""

    kind: Literal["inpaint_frames"]
    start_seconds: NonNegativeFloat
    gap_seconds: PositiveFloat


class BandwidthExtension(Task):
    """All above a frequency is missing."""

    kind: Literal["bandwidth_extension"]
    cutoff_hz: PositiveFloat


class SuperResolution(Task):
    """Blocks of factor x factor pixels are known by their mean only."""

    kind: Literal["super_resolution"]
    factor: Annotated[int, Field(ge=2)]


class KnownReverb(Task):
    """A room that is known: every frequency convolved over time with a filter that decays by 60 dB in this time."""

    kind: Literal["known_reverb"]
    reverberation_seconds: PositiveFloat


class BlindDereverberation(Task):
    """A room that is not known: its filter is estimated together with the dry audio."""

    kind: Literal["blind_dereverberation"]
    reverberation_seconds: PositiveFloat  # of the room that damages held-out examples; not told to the restoration
    filter_frames: Annotated[int, Field(ge=2)]  # of the estimated filter


RestorationTask = Annotated[
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
PICTURE_TASKS = (Denoise, InpaintPixels, SuperResolution)
MAGNITUDE_TASKS = (InpaintBins, InpaintFrames, BandwidthExtension)  # and without noise: magnitudes do not add
SOUND_TASKS = (Denoise, *MAGNITUDE_TASKS, KnownReverb, BlindDereverberation)


class RestoreSection(Section):
    """Restoration with the trained model as prior, by DDRM (Kawar et al. 2022)."""

    tasks: Annotated[tuple[RestorationTask, ...], Field(strict=False)]  # tried on held-out examples; may be none
    num_examples: PositiveInt
    num_draws: PositiveInt  # restorations of each example that are averaged: pixels, or magnitudes in decibels
    num_steps: PositiveInt
    eta: Fraction  # fresh noise where nothing was observed, and below the noise of the observation
    eta_b: Fraction  # trust in the observation above its noise
    below_noise: Literal["constant", "matched"]  # eta below the observation's noise: as given, or so that the mean fits
    overlap_fraction: OpenFraction  # of neighbouring windows, for what is longer than an example
    seed: NonNegativeInt
    weights: Literal["ema", "raw"]
    precision: Precision

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [task.name for task in self.tasks]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two tasks have the name '{twice[0]}': their scores could not be told apart.")
        return self


def check_task(task: Task, data: DataSection) -> None:
    """Raises ValueError where a restoration task is not for this kind of data."""
    known: tuple[type[Task], ...]
    match data:
        case Audio(representation=MagnitudeSpectrogram()):
            known, what = MAGNITUDE_TASKS, "magnitude spectrograms"
        case Audio():
            known, what = SOUND_TASKS, "audio"
        case _:
            known, what = PICTURE_TASKS, "images"
    if not isinstance(task, known):
        kinds = ", ".join(sorted(str(get_args(kind.model_fields["kind"].annotation)[0]) for kind in known))
        raise ValueError(f"[restore] task '{task.name}' is of another kind than {what} know: {kinds}.")
    if known is MAGNITUDE_TASKS and task.noise_std:
        raise ValueError(f"[restore] task '{task.name}': noise does not add in {what}. Set noise_std = 0.0.")


def check_reach(task: Task, data: DataSection) -> None:
    """Raises ValueError where a task takes away what an example of `data` does not have, or all of it."""
    if isinstance(task, SuperResolution) and any(side % task.factor for side in data.shape[1:]):
        raise ValueError(
            f"[restore] task '{task.name}': factor = {task.factor} does not divide images of {data.shape[1]} x "
            f"{data.shape[2]}."
        )
    if not isinstance(data, Audio):
        return
    nyquist, seconds = data.sample_rate_hz / 2, data.window_samples / data.sample_rate_hz
    width_hz = data.sample_rate_hz / data.stft.window_samples
    lowest = 0.0 if data.stft.keep_dc else width_hz
    half = data.stft.window_samples / 2 / data.sample_rate_hz
    match task:
        case InpaintBins(low_hz=edge) | BandwidthExtension(cutoff_hz=edge) if edge >= nyquist:
            raise ValueError(
                f"[restore] task '{task.name}': {edge:g} Hz is beyond what sample_rate_hz = {data.sample_rate_hz} "
                f"holds, {nyquist:g} Hz."
            )
        case InpaintBins(low_hz=low, high_hz=high) if high - low < width_hz or (low <= lowest and high > nyquist):
            raise ValueError(
                f"[restore] task '{task.name}': a band from {low:g} to {high:g} Hz takes away nothing or everything. "
                f"Bins are {width_hz:g} Hz wide and reach to {nyquist:g} Hz."
            )
        case BandwidthExtension(cutoff_hz=cutoff) if cutoff <= lowest:
            raise ValueError(
                f"[restore] task '{task.name}': above {cutoff:g} Hz is everything; the lowest bin has {lowest:g} Hz."
            )
        case InpaintFrames(start_seconds=start, gap_seconds=gap) if start + gap >= seconds:
            raise ValueError(
                f"[restore] task '{task.name}': the gap ends at {start + gap:g} s, an example is {seconds:.3g} s long."
            )
        case InpaintFrames(start_seconds=start, gap_seconds=gap) if start < half and start + gap + half > seconds:
            raise ValueError(
                f"[restore] task '{task.name}': every window of {2 * half:.3g} s in an example of {seconds:.3g} s "
                "reaches into the gap, so nothing of it is known. Make the gap shorter or the examples longer."
            )
        case BlindDereverberation(filter_frames=frames) if frames > data.num_frames:
            raise ValueError(
                f"[restore] task '{task.name}': filter_frames = {frames} is more than num_frames = {data.num_frames}."
            )
        case _:
            pass
