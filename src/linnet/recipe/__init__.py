"""The recipe: every number that changes a result, in one strict TOML file.

The schema has no defaults: a recipe says everything, so that a reader (and DVC) sees everything. (One key came late,
and recipes may leave it out: `exif_orientation` of image layouts.) Where a run happens
(devices, folders, servers) is no part of it. Nothing here imports torch, so that `linnet check` answers at once.
"""

from linnet.recipe.conditioning import (
    ClassLabel,
    Conditioning,
    HuggingFaceTextEncoder,
    MultiLabel,
    Text,
    TrainedTextEncoder,
    Unconditional,
)
from linnet.recipe.data import (
    STFT,
    Audio,
    CaltechLayout,
    ComplexSpectrogram,
    DataSection,
    ExifOrientation,
    ImageLayout,
    Images,
    MagnitudeSpectrogram,
    OfficialSplit,
    Representation,
    SeededSplit,
    Shape,
    Split,
)
from linnet.recipe.diffusion import CosineSchedule, DiffusionSection, LinearSchedule, NoiseLevel
from linnet.recipe.evaluate import (
    AudioFeatures,
    EvaluateSection,
    Features,
    ImageFeatures,
    can_have_metric,
    metric_names,
)
from linnet.recipe.model import TDF, CompactUNet, DiffusionTransformer, ModelSection, NoFrequencyLayer, UNet
from linnet.recipe.recipe import NamedTrainingRecipe, Recipe, TrainingRecipe
from linnet.recipe.register import GateSection, RegisterSection
from linnet.recipe.restore import Degradation, DegradationSection, RestoreSection
from linnet.recipe.sample import DDIM, DDPM, AsTrained, DPMSolver, Longer, SamplerSection, SampleSection, StepSpacing
from linnet.recipe.section import Section, flatten, section_hash
from linnet.recipe.train import Adam, AdamW, Muon, Precision, ResolvedPrecision, TrainSection

__all__ = [
    "DDIM",
    "DDPM",
    "STFT",
    "TDF",
    "Degradation",
    "DegradationSection",
    "Adam",
    "AdamW",
    "AsTrained",
    "CaltechLayout",
    "ExifOrientation",
    "ImageLayout",
    "Images",
    "ClassLabel",
    "CompactUNet",
    "ComplexSpectrogram",
    "Conditioning",
    "CosineSchedule",
    "DPMSolver",
    "DataSection",
    "DiffusionSection",
    "DiffusionTransformer",
    "EvaluateSection",
    "Features",
    "GateSection",
    "HuggingFaceTextEncoder",
    "LinearSchedule",
    "Longer",
    "MagnitudeSpectrogram",
    "ModelSection",
    "MultiLabel",
    "Muon",
    "NoFrequencyLayer",
    "NamedTrainingRecipe",
    "NoiseLevel",
    "OfficialSplit",
    "ImageFeatures",
    "Precision",
    "ResolvedPrecision",
    "Recipe",
    "RegisterSection",
    "Representation",
    "RestoreSection",
    "SampleSection",
    "SamplerSection",
    "Section",
    "SeededSplit",
    "Shape",
    "Audio",
    "AudioFeatures",
    "Split",
    "Text",
    "TrainSection",
    "TrainedTextEncoder",
    "TrainingRecipe",
    "UNet",
    "Unconditional",
    "can_have_metric",
    "flatten",
    "metric_names",
    "section_hash",
    "StepSpacing",
]
