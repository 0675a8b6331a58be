"""The whole recipe, and where its sections contradict each other."""

from typing import Annotated, Self, get_args

from pydantic import Field, model_validator

from linnet.recipe.conditioning import ClassLabel, Conditioning, MultiLabel, Text, Unconditional
from linnet.recipe.data import Audio, DataSection, Images
from linnet.recipe.diffusion import CosineSchedule, DiffusionSection
from linnet.recipe.evaluate import AudioFeatures, EvaluateSection, ImageFeatures, can_have_metric, metric_names
from linnet.recipe.model import ModelSection
from linnet.recipe.register import RegisterSection
from linnet.recipe.restore import RestoreSection
from linnet.recipe.sample import Longer, SampleSection
from linnet.recipe.section import Section
from linnet.recipe.train import TrainSection

MIN_SAMPLES = 3  # that a metric and its jackknife interval need


class TrainingRecipe(Section):
    """The sections that decide what a model is; they are stored beside its weights."""

    data: DataSection
    model: ModelSection
    conditioning: Conditioning
    diffusion: DiffusionSection
    train: TrainSection


class NamedTrainingRecipe(TrainingRecipe):
    """What a training needs to know: the sections that decide its result, and a name for its files and its run."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]

    def training(self) -> TrainingRecipe:
        """The sections that decide what the model is."""
        return TrainingRecipe(**{name: getattr(self, name) for name in TrainingRecipe.model_fields})


class Recipe(NamedTrainingRecipe):
    """All sections."""

    sample: SampleSection
    restore: RestoreSection
    evaluate: EvaluateSection
    register_: Annotated[RegisterSection, Field(alias="register")]

    @model_validator(mode="after")
    def _model_fits_data(self) -> Self:
        self.model.check_shape(self.data.shape)
        match self.data, self.conditioning:
            case Audio(), ClassLabel():
                raise ValueError(
                    "[conditioning] kind = 'class_label', but a recording has several labels or none. Use "
                    "'multi_label', 'text' or 'none'."
                )
            case Images(), MultiLabel():
                raise ValueError(
                    "[conditioning] kind = 'multi_label', but an image has one class. Use 'class_label', 'text' or "
                    "'none'."
                )
            case Audio(labels_column=""), MultiLabel():
                raise ValueError("[conditioning] kind = 'multi_label' needs [data] labels_column; it is empty.")
            case Audio(labels_column="", caption_column=""), Text():
                raise ValueError(
                    "[conditioning] kind = 'text' needs [data] labels_column or caption_column; both are empty."
                )
            case Audio(), _ if self.train.horizontal_flip:
                raise ValueError("[train] horizontal_flip = true would play audio backwards. Set it to false.")
        return self

    @model_validator(mode="after")
    def _sections_fit_together(self) -> Self:
        if isinstance(self.conditioning, Unconditional) and self.sample.guidance_scale != 1:
            raise ValueError(
                f"[sample] guidance_scale = {self.sample.guidance_scale:g}, but [conditioning] kind = 'none' has no "
                "class to be guided to. Set guidance_scale = 1.0 or train with another kind."
            )
        if isinstance(self.sample.length, Longer) and not isinstance(self.data, Audio):
            raise ValueError("[sample] length kind = 'longer' is for audio. Use kind = 'as_trained'.")
        if isinstance(self.data, Audio) and isinstance(self.sample.length, Longer):
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
    def _unconditional_mode_is_trained(self) -> Self:
        """Guidance and restoration predict without a condition, which only dropout trains (Ho & Salimans 2022)."""
        if isinstance(self.conditioning, Unconditional) or self.conditioning.dropout > 0:
            return self
        if self.sample.guidance_scale != 1:
            raise ValueError(
                f"[sample] guidance_scale = {self.sample.guidance_scale:g} needs predictions without a condition, "
                "which [conditioning] dropout = 0 never trains. Set dropout = 0.1 or guidance_scale = 1.0."
            )
        if self.restore.degradations:
            raise ValueError(
                "[restore] needs predictions without a condition, which [conditioning] dropout = 0 never trains. Set "
                "dropout = 0.1 or degradations = []."
            )
        return self

    @model_validator(mode="after")
    def _degradations_fit_data(self) -> Self:
        for degradation in self.restore.degradations:
            degradation.check_modality(self.data)
            degradation.check_reach(self.data)
        return self

    @model_validator(mode="after")
    def _metrics_fit_data(self) -> Self:
        if self.evaluate.kernel_subset_size > self.sample.num_samples:
            raise ValueError(
                f"[evaluate] kernel_subset_size = {self.evaluate.kernel_subset_size} is more than [sample] num_samples "
                f"= {self.sample.num_samples}. Generate more samples or use smaller subsets."
            )
        if self.sample.num_samples < MIN_SAMPLES:
            raise ValueError(
                f"[sample] num_samples = {self.sample.num_samples} is too few: the interval of a distance leaves one "
                f"out, and a distance needs two. Generate {MIN_SAMPLES} or more; a hundred or more say something."
            )
        allowed = get_args(AudioFeatures if isinstance(self.data, Audio) else ImageFeatures)
        if bad := [name for name in self.evaluate.features if name not in allowed]:
            raise ValueError(
                f"[evaluate] features has '{bad[0]}', which [data] kind = '{self.data.kind}' does not have. "
                f"Use some of {', '.join(allowed)}."
            )
        if {"vggish", "scripted"} <= set(self.evaluate.features):
            raise ValueError("[evaluate] features has both 'vggish' and 'scripted'; one weights file can be given.")
        if not can_have_metric(self.evaluate, self.register_.gate.metric):
            known = [name for feature in self.evaluate.features for name in metric_names(feature)]
            raise ValueError(
                f"[register.gate] metric = '{self.register_.gate.metric}' is not computed by [evaluate] features. "
                f"Use one of {', '.join(known)}."
            )
        return self
