"""The recipe: every number that changes a result, in one strict TOML file.

The schema has no defaults: a recipe says everything, so a reader (and DVC) sees everything. Where a run happens
(devices, folders, servers) is no part of it. Imports no torch, so that `linnet check` answers at once.
"""

from typing import Annotated, Self, get_args

from pydantic import Field, model_validator

from linnet.recipe.data import (
    STFT,
    CaltechBirds,
    ComplexSpectrogram,
    DataSection,
    MagnitudeSpectrogram,
    OfficialSplit,
    Representation,
    SeededSplit,
    Shape,
    Sound,
    Split,
)
from linnet.recipe.diffusion import CosineSchedule, DiffusionSection, LinearSchedule
from linnet.recipe.model import (
    TDF,
    ClassLabel,
    CompactUNet,
    Conditioning,
    DiffusionTransformer,
    HuggingFaceTextEncoder,
    ModelSection,
    MultiLabel,
    NoFrequencyLayer,
    Text,
    TrainedTextEncoder,
    Unconditional,
    UNet,
)
from linnet.recipe.restoration import (
    MAGNITUDE_TASKS,
    PICTURE_TASKS,
    SOUND_TASKS,
    BandwidthExtension,
    BlindDereverberation,
    Denoise,
    InpaintBins,
    InpaintFrames,
    InpaintPixels,
    KnownReverb,
    RestorationTask,
    RestoreSection,
    SuperResolution,
    Task,
)
from linnet.recipe.results import (
    DDIM,
    DDPM,
    AsTrained,
    DPMSolver,
    EvaluateSection,
    Features,
    GateSection,
    Longer,
    PictureFeatures,
    RegisterSection,
    SamplerSection,
    SampleSection,
    SoundFeatures,
    metric_names,
)
from linnet.recipe.section import Section, flatten, section_hash
from linnet.recipe.train import Adam, AdamW, Precision, TrainSection

__all__ = [
    "DDIM",
    "DDPM",
    "MAGNITUDE_TASKS",
    "PICTURE_TASKS",
    "SOUND_TASKS",
    "STFT",
    "TDF",
    "Task",
    "Adam",
    "AdamW",
    "AsTrained",
    "BandwidthExtension",
    "BlindDereverberation",
    "CaltechBirds",
    "ClassLabel",
    "CompactUNet",
    "ComplexSpectrogram",
    "Conditioning",
    "CosineSchedule",
    "DPMSolver",
    "DataSection",
    "Denoise",
    "DiffusionSection",
    "DiffusionTransformer",
    "EvaluateSection",
    "Features",
    "GateSection",
    "HuggingFaceTextEncoder",
    "InpaintBins",
    "InpaintFrames",
    "InpaintPixels",
    "KnownReverb",
    "LinearSchedule",
    "Longer",
    "MagnitudeSpectrogram",
    "ModelSection",
    "MultiLabel",
    "NoFrequencyLayer",
    "OfficialSplit",
    "PictureFeatures",
    "Precision",
    "Recipe",
    "RegisterSection",
    "Representation",
    "RestorationTask",
    "RestoreSection",
    "SampleSection",
    "SamplerSection",
    "Section",
    "SeededSplit",
    "Shape",
    "Sound",
    "SoundFeatures",
    "Split",
    "SuperResolution",
    "Text",
    "TrainSection",
    "TrainedTextEncoder",
    "TrainingRecipe",
    "UNet",
    "Unconditional",
    "check_task",
    "flatten",
    "metric_names",
    "section_hash",
]


LEAST_SAMPLES = 3  # that evaluate can measure


class TrainingRecipe(Section):
    """The sections that make a model: what is stored beside its weights."""

    data: DataSection
    model: ModelSection
    conditioning: Conditioning
    diffusion: DiffusionSection
    train: TrainSection


class Recipe(TrainingRecipe):
    """A whole recipe."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    sample: SampleSection
    restore: RestoreSection
    evaluate: EvaluateSection
    register_: Annotated[RegisterSection, Field(alias="register")]

    @model_validator(mode="after")
    def _model_fits_data(self) -> Self:
        self.model.check_shape(self.data.shape)
        match self.data, self.conditioning:
            case Sound(), ClassLabel():
                raise ValueError(
                    "[conditioning] kind = 'class_label', but a song has several labels or none. Use 'multi_label', "
                    "'text' or 'none'."
                )
            case CaltechBirds(), MultiLabel():
                raise ValueError(
                    "[conditioning] kind = 'multi_label', but a picture has one class. Use 'class_label', 'text' or "
                    "'none'."
                )
            case Sound(labels_column=""), MultiLabel():
                raise ValueError("[conditioning] kind = 'multi_label' needs [data] labels_column; it is empty.")
            case Sound(labels_column="", caption_column=""), Text():
                raise ValueError(
                    "[conditioning] kind = 'text' needs [data] labels_column or caption_column; both are empty."
                )
            case Sound(), _ if self.train.horizontal_flip:
                raise ValueError("[train] horizontal_flip = true would play sound backwards. Set it to false.")
        return self

    @model_validator(mode="after")
    def _sections_fit_together(self) -> Self:
        if isinstance(self.conditioning, Unconditional) and self.sample.guidance_scale != 1:
            raise ValueError(
                f"[sample] guidance_scale = {self.sample.guidance_scale:g}, but [conditioning] kind = 'none' has no "
                "class to be guided to. Set guidance_scale = 1.0 or train with another kind."
            )
        if isinstance(self.sample.length, Longer) and not isinstance(self.data, Sound):
            raise ValueError("[sample] length kind = 'longer' is for sound. Use kind = 'as_trained'.")
        if isinstance(self.data, Sound) and isinstance(self.sample.length, Longer):
            seconds = self.data.window_samples / self.data.sample_rate_hz
            if self.sample.length.duration_seconds < seconds:
                raise ValueError(
                    f"[sample] length duration_seconds = {self.sample.length.duration_seconds:g} is less than a "
                    f"training example has, {seconds:.3g} s. Use kind = 'as_trained' or a longer duration."
                )
        is_cosine = isinstance(self.diffusion.schedule, CosineSchedule)
        if is_cosine and self.diffusion.prediction == "epsilon" and not self.sample.clip_x0:
            raise ValueError(
                "[diffusion] prediction = 'epsilon' on a cosine schedule divides by almost no signal in the first "
                "steps of sampling. Use prediction = 'v' or [sample] clip_x0 = true."
            )
        for name, steps in (("sample", self.sample.sampler.num_steps), ("restore", self.restore.num_steps)):
            if steps > self.diffusion.schedule.num_timesteps:
                raise ValueError(
                    f"[{name}] num_steps = {steps} is more than [diffusion] num_timesteps = "
                    f"{self.diffusion.schedule.num_timesteps}. Use fewer steps."
                )
        return self

    @model_validator(mode="after")
    def _nothing_is_trained(self) -> Self:
        """Guidance and restoration tell a model nothing, which it knows from dropout alone (Ho & Salimans 2022)."""
        if isinstance(self.conditioning, Unconditional) or self.conditioning.dropout > 0:
            return self
        if self.sample.guidance_scale != 1:
            raise ValueError(
                f"[sample] guidance_scale = {self.sample.guidance_scale:g} starts from a model that is told nothing, "
                "which [conditioning] dropout = 0 never trains. Set dropout = 0.1 or guidance_scale = 1.0."
            )
        if self.restore.tasks:
            raise ValueError(
                "[restore] tasks need a model that is told nothing, which [conditioning] dropout = 0 never trains. Set "
                "dropout = 0.1 or tasks = []."
            )
        return self

    @model_validator(mode="after")
    def _tasks_fit_data(self) -> Self:
        for task in self.restore.tasks:
            check_task(task, self.data)
            _check_reach(task, self.data)
            if isinstance(task, SuperResolution) and any(side % task.factor for side in self.data.shape[1:]):
                raise ValueError(
                    f"[restore] task '{task.name}': factor = {task.factor} does not divide pictures of "
                    f"{self.data.shape[1]} x {self.data.shape[2]}."
                )
        return self

    @model_validator(mode="after")
    def _metrics_fit_data(self) -> Self:
        if self.evaluate.kernel_subset_size > self.sample.num_samples:
            raise ValueError(
                f"[evaluate] kernel_subset_size = {self.evaluate.kernel_subset_size} is more than [sample] num_samples "
                f"= {self.sample.num_samples}. Draw more samples or use smaller subsets."
            )
        if self.sample.num_samples < LEAST_SAMPLES:
            raise ValueError(
                f"[sample] num_samples = {self.sample.num_samples} is too few: the interval of a distance leaves one "
                f"out, and a distance needs two. Draw {LEAST_SAMPLES} or more; a hundred or more say something."
            )
        allowed = get_args(SoundFeatures if isinstance(self.data, Sound) else PictureFeatures)
        if bad := [name for name in self.evaluate.features if name not in allowed]:
            raise ValueError(
                f"[evaluate] features has '{bad[0]}', which [data] kind = '{self.data.kind}' does not have. "
                f"Use some of {', '.join(allowed)}."
            )
        if {"vggish", "scripted"} <= set(self.evaluate.features):
            raise ValueError("[evaluate] features has both 'vggish' and 'scripted'; one weights file can be given.")
        known = [name for feature in self.evaluate.features for name in metric_names(feature)]
        unpublished = [f"{kind}_{feature}" for feature in self.evaluate.features for kind in ("frechet", "kernel")]
        if self.register_.gate.metric not in (*known, *unpublished):  # these where evaluate is given other weights
            raise ValueError(
                f"[register.gate] metric = '{self.register_.gate.metric}' is not computed by [evaluate] features. "
                f"Use one of {', '.join(known)}."
            )
        return self

    def training(self) -> TrainingRecipe:
        """Only the sections that make the model."""
        return TrainingRecipe(**{name: getattr(self, name) for name in TrainingRecipe.model_fields})


def check_task(task: Task, data: DataSection) -> None:
    """Raises ValueError where a restoration task is not for this kind of data."""
    known: tuple[type[Task], ...]
    match data:
        case Sound(representation=MagnitudeSpectrogram()):
            known, what = MAGNITUDE_TASKS, "magnitude spectrograms"
        case Sound():
            known, what = SOUND_TASKS, "sound"
        case _:
            known, what = PICTURE_TASKS, "pictures"
    if not isinstance(task, known):
        kinds = ", ".join(sorted(str(get_args(kind.model_fields["kind"].annotation)[0]) for kind in known))
        raise ValueError(f"[restore] task '{task.name}' is of another kind than {what} know: {kinds}.")
    if known is MAGNITUDE_TASKS and task.noise_std:
        raise ValueError(f"[restore] task '{task.name}': noise does not add in {what}. Set noise_std = 0.0.")


def _check_reach(task: Task, data: DataSection) -> None:
    """Raises ValueError where a task takes away what an example does not have, or all of it."""
    if not isinstance(data, Sound):
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
