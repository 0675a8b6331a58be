"""The stages of the pipeline: what goes in, what comes out, and which code decides the result.

The command line, the tasks, the hashes of results and the contract tests of `dvc.yaml` read this table. What is no part
of it (pages, messages, progress, tracking, transport) may change without any stage running again.
"""

from linnet.hashes import Stage, code_hash, combined

# What stages import and what never decides a result.
NEVER_DECIDES = (
    *("artifacts", "engine", "errors", "files", "hashes", "memory", "patience", "processes", "progress", "recipe.load"),
    *(
        "recipe.earlier",
        "recipe.recipe",
        "inference.memory",
        "models.memory",
        "training.memory",
    ),  # out of memory there is no result
    *("stages.table", "walk"),
    *("launch", "registry", "reports", "storage", "tracking"),
)
_TRAINING_SECTIONS = ("data", "model", "conditioning", "diffusion", "train")
_READING = tuple(  # of files: only for preprocess
    f"modalities.{name}"
    for name in ("audio_preprocess", "image_checks", "image_preprocess", "overlap", "pool", "summary")
)
_IMAGES = ("data.colour_profiles", "data.image_colours", "data.image_files", "data.images")  # their pixels
_CODECS = ("modalities.audio_codec", "modalities.image_codec")
_CONVERSION = tuple(  # only for ingest
    f"data.layouts.{name}" for name in ("audio_conversion", "file_names", "parquet", "published")
)
_NETWORK = (  # what rebuilds a trained network, and makes examples of what it says
    *("audio", "data.arrays", "modalities", "models", *(f"recipe.{name}" for name in _TRAINING_SECTIONS)),
    *("diffusion.objective", "diffusion.schedule", "diffusion.samplers", "diffusion.multidiffusion"),
    *("inference.batching", "inference.diffusion_model"),
)
_UNUSED = (  # by what rebuilds a network
    *_READING,
    *("modalities.prompts", "models.flops", "models.memory", "models.published_weights"),
)
_WRITING = ("audio.loudness", "modalities.write")  # of single files: only for sample
_TORCH = ("torch", "torchaudio", "numpy")

INGEST = Stage(
    "ingest",
    sections=("data",),
    inputs=(),
    output="raw",
    computes=("data", "audio.pcm"),
    ignores=(
        *("data.arrays", "data.audio_files", "data.batches", "data.duplicates", "data.splits", *_IMAGES),
        "data.layouts.class_folders",  # makes a source
    ),
    libraries=("numpy", "pillow", "pyarrow"),
)
PREPROCESS = Stage(
    "preprocess",
    sections=("data",),
    inputs=("raw",),
    output="dataset",
    computes=(
        *("audio.normalization", "audio.pcm", "audio.stft", "data", *_READING, "modalities.audio"),
        *("modalities.base", "modalities.dispatch", "modalities.images", "modalities.statistics"),
    ),
    ignores=("data.batches", "data.sources", "data.synthetic", "data.layouts.class_folders", *_CONVERSION, *_CODECS),
    libraries=(*_TORCH, "pillow", "pyarrow", "soundfile"),
)
TRAIN = Stage(
    "train",
    sections=_TRAINING_SECTIONS,
    inputs=("dataset",),
    output="model",
    computes=(
        *("audio", "data.arrays", "data.batches", "diffusion.objective", "diffusion.schedule"),
        *("modalities", "models", "training"),
    ),
    ignores=(
        *("inference", "models.row_threads"),  # grids to look at
        *("training.memory", "training.rehearsal", "training.throughput"),  # what steps cost
        *("audio.mel", *_UNUSED, *_WRITING),
    ),
    libraries=_TORCH,
)
SAMPLE = Stage(
    "sample",
    sections=("sample",),
    inputs=("model",),
    output="samples",
    computes=(*_NETWORK, "inference.noising", "inference.sampling"),
    ignores=("audio.mel", *_UNUSED),
    libraries=(*_TORCH, "pillow", "soundfile"),
)
RESTORE = Stage(
    "restore",
    sections=("restore",),
    inputs=("dataset", "model"),
    output="restored",
    computes=(
        *(*_NETWORK, "diffusion", "inference.degradations", "inference.inverse_problem", "inference.restoration"),
    ),
    ignores=(
        "audio.mel",
        "data.audio_files",
        "data.image_files",
        "data.images",
        *_UNUSED,
        *_WRITING,
    ),  # files of one's own
    libraries=_TORCH,
)
EVALUATE = Stage(
    "evaluate",
    sections=("evaluate",),
    inputs=("dataset", "model", "samples", "restored"),
    output="report",
    computes=(
        *(*_NETWORK, "recipe.sample", "recipe.restore", "metrics"),
        *("inference.reference_sets", "inference.sampling"),
    ),
    ignores=(*_UNUSED, *_WRITING),
    libraries=(*_TORCH, "torchmetrics", "torch-fidelity"),
)
REGISTER = Stage(
    "register",
    sections=("register",),
    inputs=("model", "report"),
    output="registration",
    computes=("metrics.results",),
    ignores=(),
    libraries=(),
)
STAGES = (INGEST, PREPROCESS, TRAIN, SAMPLE, RESTORE, EVALUATE, REGISTER)


def result_code_hash() -> str:
    """The code of all stages that decide what a model is and how it scores."""
    return combined(map(code_hash, (PREPROCESS, TRAIN, SAMPLE, RESTORE, EVALUATE)))
