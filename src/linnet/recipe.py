"""The recipe: every number that changes a result, in one strict TOML file.

The schema has no defaults: a recipe says everything, so a reader (and DVC) sees everything. Where a run happens
(devices, folders, servers) is no part of it. Imports no torch, so that `linnet check` answers at once.
"""

import difflib
import hashlib
import json
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import tomlkit
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from linnet.errors import LinnetError

Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(ge=0, lt=1)]


class RecipeError(LinnetError):
    """A recipe cannot be used; the message names file, key, value and remedy."""


class Section(BaseModel):
    """A table of the recipe: read-only, exact keys, exact types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


# --- data -------------------------------------------------------------------------------------------------------------


class SeededSplit(Section):
    """A random split that depends on nothing but the seed and the list of images."""

    kind: Literal["seeded"]
    train_fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: NonNegativeInt


class OfficialSplit(Section):
    """The data set's own train/test split."""

    kind: Literal["official"]


Split = Annotated[SeededSplit | OfficialSplit, Field(discriminator="kind")]


class CaltechBirds(Section):
    """Pictures of birds cropped by their bounding boxes (Caltech-UCSD Birds-200-2011 layout)."""

    kind: Literal["caltech_birds"]
    folder: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]  # below data/
    image_size_pixels: Annotated[int, Field(ge=8, le=1024, multiple_of=8)]
    split: Split
    max_rejected_fraction: Fraction  # of all listed images; beyond it preprocess fails


DataSection = CaltechBirds  # a second data kind makes this a union discriminated by `kind`


# --- model ------------------------------------------------------------------------------------------------------------


class CompactUNet(Section):
    """The compact residual U-Net after Beres (2022), in its first and its later form; see models/compact_unet.py."""

    kind: Literal["compact_unet"]
    noise_injection: Literal["input", "every_block"]
    stem_channels: PositiveInt
    embedding_dims: Annotated[int, Field(ge=4, multiple_of=2)]
    widths: Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=2)]
    blocks_per_level: PositiveInt
    attention_heads_by_level: Annotated[tuple[NonNegativeInt, ...], Field(strict=False)]  # 0: no attention there

    @model_validator(mode="after")
    def _one_entry_per_level(self) -> Self:
        _same_length("attention_heads_by_level", self.attention_heads_by_level, "widths", self.widths)
        heads = self.attention_heads_by_level
        everywhere = self.noise_injection == "every_block"
        grouped = [width for width, count in zip(self.widths, heads, strict=True) if everywhere or count]
        if bad := [width for width in grouped if width % 8]:
            raise ValueError(
                f"widths has {bad[0]}: the group norm of attention and of noise_injection = 'every_block' needs "
                "multiples of 8."
            )
        if everywhere and self.stem_channels % 8:
            raise ValueError(f"stem_channels = {self.stem_channels}: group norm needs a multiple of 8.")
        if everywhere and min(self.widths) == 8:
            raise ValueError(
                "widths has 8: with one channel a group, group norm would remove the noise level. Use 16 or more."
            )
        return self


class UNet(Section):
    """The U-Net of Ho et al. (2020): timestep into every block, self-attention; see models/unet.py."""

    kind: Literal["unet"]
    channels: Annotated[int, Field(ge=16, multiple_of=8)]  # 8 would leave group norm one channel a group
    channel_multipliers: Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=2)]
    blocks_per_level: PositiveInt
    attention_heads_by_level: Annotated[tuple[NonNegativeInt, ...], Field(strict=False)]
    middle_attention_heads: PositiveInt
    dropout: OpenFraction

    @model_validator(mode="after")
    def _one_entry_per_level(self) -> Self:
        _same_length(
            "attention_heads_by_level", self.attention_heads_by_level, "channel_multipliers", self.channel_multipliers
        )
        levels = [
            (self.channels * multiplier, heads)
            for multiplier, heads in zip(self.channel_multipliers, self.attention_heads_by_level, strict=True)
        ] + [(self.channels * self.channel_multipliers[-1], self.middle_attention_heads)]
        for width, heads in levels:
            if heads and width % heads:
                raise ValueError(f"{heads} attention heads do not divide a level of {width} channels.")
        return self


ModelSection = Annotated[CompactUNet | UNet, Field(discriminator="kind")]


class Unconditional(Section):
    """The model sees nothing but the noisy picture."""

    kind: Literal["none"]


class ClassLabel(Section):
    """The model sees the class, dropped at times in training for classifier-free guidance (Ho & Salimans 2022)."""

    kind: Literal["class_label"]
    num_classes: PositiveInt
    dropout: OpenFraction


Conditioning = Annotated[Unconditional | ClassLabel, Field(discriminator="kind")]


# --- diffusion --------------------------------------------------------------------------------------------------------


class LinearSchedule(Section):
    """Noise variances grow linearly (Ho et al. 2020)."""

    kind: Literal["linear"]
    num_timesteps: Annotated[int, Field(ge=2)]
    beta_start: Annotated[float, Field(gt=0, lt=1)]
    beta_end: Annotated[float, Field(gt=0, lt=1)]


class CosineSchedule(Section):
    """The squared cosine signal level (Nichol & Dhariwal 2021, eq. 17)."""

    kind: Literal["cosine"]
    num_timesteps: Annotated[int, Field(ge=2)]
    offset: NonNegativeFloat  # their s


class DiffusionSection(Section):
    """The forward process and what the network learns to predict."""

    schedule: Annotated[LinearSchedule | CosineSchedule, Field(discriminator="kind")]
    prediction: Literal["epsilon", "x0", "v"]
    loss: Literal["mse", "mae"]


# --- train ------------------------------------------------------------------------------------------------------------


class Adam(Section):
    """Adam (Kingma & Ba 2015)."""

    kind: Literal["adam"]
    beta1: OpenFraction
    beta2: OpenFraction


class AdamW(Section):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    kind: Literal["adamw"]
    beta1: OpenFraction
    beta2: OpenFraction
    weight_decay: NonNegativeFloat


Precision = Literal["fp32", "bf16", "fp16"]


class TrainSection(Section):
    """How long and how fast."""

    duration_kexamples: PositiveFloat  # thousands of training examples, whatever the batch size
    batch_size: PositiveInt  # examples per optimizer step, over all ranks
    learning_rate: PositiveFloat  # peak value, reached after warmup
    warmup_kexamples: NonNegativeFloat
    optimizer: Annotated[Adam | AdamW, Field(discriminator="kind")]
    max_gradient_norm: PositiveFloat
    ema_decay: OpenFraction  # of the averaged weights, per step
    horizontal_flip: bool
    precision: Precision
    seed: NonNegativeInt
    log_every_steps: PositiveInt
    grid_every_kexamples: PositiveFloat  # a picture of EMA samples

    @model_validator(mode="after")
    def _peak_is_reached(self) -> Self:
        if self.warmup_kexamples >= self.duration_kexamples:
            raise ValueError(
                f"warmup_kexamples is {self.warmup_kexamples:g}, the whole run only duration_kexamples = "
                f"{self.duration_kexamples:g}: the peak rate is never reached. Lower the warmup or lengthen the run."
            )
        if self.num_steps < 1:
            raise ValueError(
                f"duration_kexamples = {self.duration_kexamples:g} is less than one batch of {self.batch_size}. "
                "Lengthen the run or lower batch_size."
            )
        return self

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return round(self.duration_kexamples * 1000 / self.batch_size)

    def steps_for(self, kexamples: float) -> int:
        """`kexamples` thousand examples in optimizer steps, at least one."""
        return max(1, round(kexamples * 1000 / self.batch_size))


# --- sample, evaluate, register ---------------------------------------------------------------------------------------


class DDPM(Section):
    """Ancestral sampling (Ho et al. 2020, algorithm 2)."""

    kind: Literal["ddpm"]
    num_steps: PositiveInt


class DDIM(Section):
    """Implicit sampling (Song et al. 2021); eta = 1 has the noise of DDPM, eta = 0 none."""

    kind: Literal["ddim"]
    num_steps: PositiveInt
    eta: Fraction


class DPMSolver(Section):
    """DPM-Solver++(2M), a second-order multistep solver (Lu et al. 2022)."""

    kind: Literal["dpm_solver_pp_2m"]
    num_steps: PositiveInt


SamplerSection = Annotated[DDPM | DDIM | DPMSolver, Field(discriminator="kind")]


class SampleSection(Section):
    """What to draw from the trained model."""

    sampler: SamplerSection
    num_samples: PositiveInt
    num_files: NonNegativeInt  # how many of them also become single PNG files
    seed: NonNegativeInt
    weights: Literal["ema", "raw"]
    guidance_scale: NonNegativeFloat  # 1: as trained; above 1 pulls towards the class
    clip_x0: bool  # keep each prediction inside the range of real pixels
    precision: Precision

    @model_validator(mode="after")
    def _files_exist(self) -> Self:
        if self.num_files > self.num_samples:
            raise ValueError(f"num_files = {self.num_files} is more than num_samples = {self.num_samples}.")
        return self


Features = Literal["inception", "thumbnail", "texture"]


class EvaluateSection(Section):
    """How the samples are compared with real pictures."""

    features: Annotated[tuple[Features, ...], Field(strict=False, min_length=1)]
    reference_split: Literal["train", "test"]
    kernel_subsets: PositiveInt
    kernel_subset_size: Annotated[int, Field(ge=2)]
    seed: NonNegativeInt


class GateSection(Section):
    """When a new version becomes the champion."""

    metric: str  # a key of metrics.json, such as "frechet_thumbnail"; lower is better
    max_ratio_to_noise: PositiveFloat  # of the distance that pure noise has
    min_improvement: OpenFraction  # over the champion, as a fraction of its score


class RegisterSection(Section):
    """Where the model goes in the registry."""

    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    gate: GateSection


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
    evaluate: EvaluateSection
    register_: Annotated[RegisterSection, Field(alias="register")]

    @model_validator(mode="after")
    def _sections_fit_together(self) -> Self:
        levels = len(self.model.widths if isinstance(self.model, CompactUNet) else self.model.channel_multipliers)
        if self.data.image_size_pixels % 2 ** (levels - 1):
            raise ValueError(
                f"[data] image_size_pixels = {self.data.image_size_pixels} cannot be halved {levels - 1} times, as the "
                f"{levels} levels of [model] do. Use a multiple of {2 ** (levels - 1)} or fewer levels."
            )
        if isinstance(self.conditioning, Unconditional) and self.sample.guidance_scale != 1:
            raise ValueError(
                f"[sample] guidance_scale = {self.sample.guidance_scale:g}, but [conditioning] kind = 'none' has no "
                "class to be guided to. Set guidance_scale = 1.0 or train with kind = 'class_label'."
            )
        if self.sample.sampler.num_steps > self.diffusion.schedule.num_timesteps:
            raise ValueError(
                f"[sample] num_steps = {self.sample.sampler.num_steps} is more than [diffusion] num_timesteps = "
                f"{self.diffusion.schedule.num_timesteps}. Use fewer sampling steps."
            )
        if self.evaluate.kernel_subset_size > self.sample.num_samples:
            raise ValueError(
                f"[evaluate] kernel_subset_size = {self.evaluate.kernel_subset_size} is more than [sample] num_samples "
                f"= {self.sample.num_samples}. Draw more samples or use smaller subsets."
            )
        known = [name for feature in self.evaluate.features for name in metric_names(feature)]
        if self.register_.gate.metric not in known:
            raise ValueError(
                f"[register.gate] metric = '{self.register_.gate.metric}' is not computed by [evaluate] features. "
                f"Use one of {', '.join(known)}."
            )
        return self

    def training(self) -> TrainingRecipe:
        """Only the sections that make the model."""
        return TrainingRecipe(**{name: getattr(self, name) for name in TrainingRecipe.model_fields})


def metric_names(features: Features) -> tuple[str, str]:
    """The Frechet and the kernel distance of a feature: only Inception's may be called FID and KID."""
    return ("fid", "kid") if features == "inception" else (f"frechet_{features}", f"kernel_{features}")


def section_hash(*sections: Section) -> str:
    """sha256 of the sections' values: the same for the same settings, whatever their layout in the file."""
    values = [section.model_dump(mode="json", by_alias=True) for section in sections]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def flatten(section: Section) -> dict[str, Any]:
    """`{"train.batch_size": 32, ...}`: what MLflow shows as parameters."""

    def walk(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from walk(f"{prefix}.{key}" if prefix else key, inner)
        else:
            yield prefix, value

    return dict(walk("", section.model_dump(mode="json", by_alias=True)))


# --- reading ----------------------------------------------------------------------------------------------------------


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read `path`; `overrides` are `section.key=value` with TOML values, checked like the file itself.

    Raises:
        RecipeError: the file is missing, is no TOML or does not fit the schema.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as reason:
        raise RecipeError(
            f"{path}: cannot be read ({reason}); give the path of a recipe, such as recipes/birds.toml"
        ) from None
    recipe = parse_recipe(text, where=str(path), overrides=overrides)
    if recipe.name != path.stem:
        raise RecipeError(
            f"{path}: name = '{recipe.name}', but the file is called '{path.stem}'; two recipes with one name would "
            f'overwrite each other\'s results. Write name = "{path.stem}" or rename the file.'
        )
    return recipe


def parse_recipe(text: str, *, where: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in `text`; `where` names it in errors. Raises RecipeError."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as reason:
        raise RecipeError(f"{where}: is not valid TOML: {reason}") from None
    for override in overrides:
        _apply_override(values, override)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError("\n".join(f"{where}: {line}" for line in _explain(error))) from None


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    path = key.strip().split(".")
    if not separator or not all(path):
        raise RecipeError(f"--set {override!r}: write section.key=value, such as --set train.batch_size=64")
    try:
        value = tomlkit.value(text.strip()).unwrap()
    except tomlkit.exceptions.ParseError:
        value = text.strip()  # a bare word is meant as a string
    table = values
    for name in path[:-1]:
        if not isinstance(inner := table.get(name), dict):
            raise RecipeError(f"--set {override!r}: the recipe has no table [{name}]")
        table = inner
    table[path[-1]] = value


def _same_length(name: str, values: Sequence[int], other: str, others: Sequence[int]) -> None:
    if len(values) != len(others):
        raise ValueError(f"{name} has {len(values)} entries, {other} has {len(others)}: give one entry per level.")


def _explain(error: ValidationError) -> Iterator[str]:
    """One line per mistake: key, value, nearest valid key, remedy."""
    for detail in error.errors():
        path = [str(part) for part in detail["loc"]]
        valid_keys = _valid_keys(path[:-1])
        tags = _union_tags()
        path = [part for index, part in enumerate(path) if not (part in tags and index > 0)]
        key, table = (path[-1] if path else ""), ".".join(path[:-1])
        place = f"in [{table}]" if table else "at the top"
        given = repr(detail["input"]) if not isinstance(detail["input"], dict) else "a table"
        match detail["type"]:
            case "extra_forbidden":
                close = difflib.get_close_matches(key, valid_keys, n=1, cutoff=0.5)
                hint = f"did you mean '{close[0]}'?" if close else f"valid keys: {', '.join(valid_keys)}"
                yield f"unknown key '{key}' {place}; {hint}"
            case "missing":
                yield f"key '{key}' is missing {place}; add it (a recipe has no defaults)"
            case "union_tag_invalid" | "union_tag_not_found":
                expected = detail.get("ctx", {}).get("expected_tags", "")
                given = repr(detail["input"].get("kind")) if isinstance(detail["input"], dict) else given
                problem = f"kind = {given} is unknown" if detail["type"] == "union_tag_invalid" else "has no 'kind'"
                name = ".".join(path)
                close = difflib.get_close_matches(given.strip("'"), expected.replace("'", "").split(", "), n=1)
                hint = f"did you mean '{close[0]}'?" if close else f"choose one of {expected or _kinds(path)}"
                yield f"[{name}] {problem}; {hint}"
            case "value_error":
                message = str(detail["ctx"]["error"])
                yield f"[{'.'.join(path)}] {message}" if path else message
            case _:
                message = detail["msg"][0].lower() + detail["msg"][1:]
                yield f"{key} = {given} {place}: {message.replace('input should', 'it should')}"


def _union_tags() -> set[str]:
    """Values of `kind`: pydantic puts them into error locations, people do not look for them there."""
    return {
        tag
        for section in _all_sections(Recipe)
        if "kind" in section.model_fields
        for tag in get_args(section.model_fields["kind"].annotation)
    }


def _all_sections(section: type[Section]) -> Iterator[type[Section]]:
    yield section
    for field in section.model_fields.values():
        for inner in _sections_in(field.annotation):
            yield from _all_sections(inner)


def _sections_in(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _sections_in(argument)]


def _tags_of(section: type[Section]) -> tuple[Any, ...]:
    return get_args(section.model_fields["kind"].annotation) if "kind" in section.model_fields else ()


def _sections_at(path: Sequence[str]) -> list[type[Section]]:
    sections: list[type[Section]] = [Recipe]
    for name in path:
        if tagged := [section for section in sections if name in _tags_of(section)]:
            sections = tagged
            continue
        fields = [
            field for section in sections for key, field in section.model_fields.items() if (field.alias or key) == name
        ]
        sections = [inner for field in fields for inner in _sections_in(field.annotation)]
    return sections


def _valid_keys(path: Sequence[str]) -> list[str]:
    return sorted({field.alias or key for section in _sections_at(path) for key, field in section.model_fields.items()})


def _kinds(path: Sequence[str]) -> str:
    return ", ".join(repr(get_args(s.model_fields["kind"].annotation)[0]) for s in _sections_at(path))
