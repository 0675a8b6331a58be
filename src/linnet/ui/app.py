"""The page: `linnet ui`, or `streamlit run app.py -- --build FOLDER`. What it does: generation.py, models.py."""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar, assert_never

import streamlit as st

from linnet.errors import LinnetError, explain
from linnet.inference.requests import MAX_SECONDS, GenerationRequest, default_seconds
from linnet.modalities.conditions import as_text
from linnet.modalities.prompts import trained_classes, trained_labels
from linnet.modalities.statistics import ImageStatistics
from linnet.models.conditioning import Condition
from linnet.models.device import pick_device
from linnet.recipe import ClassLabel, MultiLabel, Text, Unconditional
from linnet.ui import generation
from linnet.ui.generation import DenoisingResult, GenerationResult, OnProgress, Preview
from linnet.ui.models import (
    Choice,
    Registered,
    TrainedModel,
    build_folder,
    built_models,
    is_registry_configured,
    load_model,
    model_key,
    registered_models,
)

MAX_EXAMPLES = 64
LEAST_SECONDS = 0.01  # of audio
MAX_GUIDANCE = 10.0
MAX_SEED = 2**31 - 1
KEPT = 4  # results on the page, to compare
FOLDER, REGISTRY = "build folder", "registry"
T = TypeVar("T")


def main() -> None:
    """One run of the page; streamlit starts it again whenever somebody touches it."""
    st.set_page_config(page_title="linnet", page_icon="🐦", layout="wide")
    st.title("linnet")
    with _in_one_sentence():
        choice = _choose_model()
        if choice is None:
            return
        model = _loaded(model_key(choice), choice)
        if model.note:
            st.info(model.note)
        condition = _choose_condition(model)
        request = _choose_settings(model, condition)
        samples_tab, denoising_tab = st.tabs(["Samples", "Denoising"])
        with samples_tab:
            _samples_page(model, request)
        with denoising_tab:
            _denoising_page(model, request)


@contextlib.contextmanager
def _in_one_sentence() -> Iterator[None]:
    """Expected errors inside are shown without a traceback."""
    try:
        yield
    except (LinnetError, OSError) as error:
        sentence = explain(error)
        if sentence is None:
            raise
        st.error(sentence)


@st.cache_resource(max_entries=2, show_spinner="Loading the model")
def _loaded(key: str, _choice: Choice) -> TrainedModel:
    """The same model for all visitors, until its folder holds another one."""
    return load_model(_choice, pick_device("auto"))


@st.cache_data(ttl=60, show_spinner="Asking the registry")
def _registered(uri: str) -> list[Registered]:
    return registered_models()


def _choose_model() -> Choice | None:
    build = build_folder(sys.argv[1:])
    origin = FOLDER
    if is_registry_configured():
        origin = st.sidebar.radio("Models of", [FOLDER, REGISTRY], horizontal=True, key="origin")
    choices: list[Choice]
    if origin == FOLDER:
        choices = [*built_models(build)]
        no_choice = f"No trained model below `{build}`: run `linnet train`, or give another folder with `--build`."
    else:
        choices = [*_registered(os.environ.get("MLFLOW_TRACKING_URI", ""))]
        no_choice = "The registry has no champion and no challenger: run `linnet register`."
    if not choices:
        st.info(no_choice)
        return None
    return st.sidebar.selectbox("Model", choices, format_func=_title, key=f"model-{origin}")


def _title(choice: Choice) -> str:
    return choice.title


def _choose_condition(model: TrainedModel) -> Condition:
    section = model.diffusion_model.recipe.conditioning
    match section:
        case Unconditional():
            st.caption("This model takes no prompt.")
            return None
        case ClassLabel():
            assert isinstance(model.statistics, ImageStatistics), "only images have classes"
            return st.selectbox(
                "Class",
                trained_classes(section, model.statistics),
                index=None,
                format_func=lambda label: as_text(label, model.statistics),
                placeholder="any class",
                key=f"class-{model.key}",
            )
        case MultiLabel():
            labels = trained_labels(model.statistics)
            chosen = st.multiselect("Labels", labels, placeholder="no label", key=f"labels-{model.key}")
            return tuple(chosen) or None
        case Text():
            prompt = st.text_area("Prompt", key="prompt", placeholder=f"such as: {generation.example_prompt(model)}")
            if words := generation.suggestions(model):
                st.pills("It was trained with", words, key="suggestion", on_change=_add_suggestion)
            return prompt.strip() or None
        case _:
            assert_never(section)


def _add_suggestion() -> None:
    """Put the label that was clicked behind the prompt, and take the click back."""
    word, before = st.session_state["suggestion"], st.session_state["prompt"].strip().rstrip(",")
    if word:
        st.session_state["prompt"] = f"{before}, {word}" if before else word
    st.session_state["suggestion"] = None


def _choose_settings(model: TrainedModel, condition: Condition) -> GenerationRequest:
    """The sidebar; a model's own settings are where it starts."""
    bar, section, recipe = st.sidebar, model.section, model.diffusion_model.recipe
    count = bar.number_input("How many", 1, MAX_EXAMPLES, 4, key="count")
    seed = bar.number_input("Seed", 0, MAX_SEED, 0, key="seed")
    timesteps = recipe.diffusion.schedule.num_timesteps
    default_steps = min(section.sampler.num_steps, timesteps)
    steps = bar.number_input(f"Steps of {section.sampler.kind}", 1, timesteps, default_steps, key=f"steps-{model.key}")
    guidance = None
    if not isinstance(recipe.conditioning, Unconditional):
        guidance = bar.slider(
            "Guidance scale",
            0.0,
            max(MAX_GUIDANCE, section.guidance_scale),
            section.guidance_scale,
            step=0.1,
            disabled=condition is None,
            help="1: as trained; above, more of what the prompt says. It needs a prompt.",
            key=f"guidance-{model.key}",
        )
    seconds = None
    if (default := default_seconds(recipe, section)) is not None:
        least, most = min(LEAST_SECONDS, default), max(MAX_SECONDS, default)
        seconds = bar.number_input("Seconds", least, most, default, format="%.3f", key=f"seconds-{model.key}")
    bar.caption("The same model, prompt, settings and seed give the same result.")
    guidance = guidance if condition is not None else None
    return GenerationRequest(
        conditions=(condition,) * count,
        seed=seed,
        num_steps=steps,
        guidance_scale=guidance,
        duration_seconds=seconds,
    )


def _samples_page(model: TrainedModel, request: GenerationRequest) -> None:
    results: list[GenerationResult] = st.session_state.setdefault("results", [])
    if st.button("Generate", type="primary", key="generate"):
        with _in_one_sentence():
            result = _with_bar("Generating", lambda on_progress: generation.generate(model, request, on_progress))
            results.insert(0, result)
            del results[KEPT:]
    for index, result in enumerate(results):
        st.subheader(_plain(result.title))
        st.caption(f"{result.settings}. {len(result.examples)} in {result.took_seconds:.1f} s.")
        _grid(result.examples, key=f"result-{index}")
    if len(results) > 1 and st.button("Forget all but the newest", key="forget"):
        del results[1:]
        st.rerun()


def _denoising_page(model: TrainedModel, request: GenerationRequest) -> None:
    left, right = st.columns([1, 3], vertical_alignment="bottom")
    index = left.number_input(f"Which of the {request.count} examples, from 0", 0, request.count - 1, 0, key="index")
    if right.button("Watch it come out of the noise", type="primary", key="denoise"):
        with _in_one_sentence():
            st.session_state["denoising"] = _with_bar(
                "Generating", lambda on_progress: generation.denoise(model, request, index, on_progress)
            )
    if "denoising" in st.session_state:
        _denoising_result(st.session_state["denoising"])


def _denoising_result(result: DenoisingResult) -> None:
    snapshots = result.snapshots
    st.subheader(_plain(result.title))
    st.caption(f"{result.settings}.")
    last = len(snapshots) - 1
    step = st.slider("From noise to the example", 0, last, last, key=f"snapshot-{last}")
    st.image(generation.strip(snapshots), width="stretch")
    chosen = snapshots[step]
    when = "finished" if chosen.timestep < 0 else f"timestep {chosen.timestep}"
    st.markdown(f"**{when}**: {chosen.noise_fraction:.0%} of the variance is noise")
    left, _ = st.columns([1, 2])
    with left:
        _one(chosen.preview, key="snapshot")


def _with_bar(words: str, work: Callable[[OnProgress], T]) -> T:
    """What `work` returns, with a bar while it works."""
    bar = st.progress(0.0, text=words)

    def on_progress(fraction: float) -> None:
        bar.progress(fraction, text=words)

    try:
        return work(on_progress)
    finally:
        bar.empty()


def _grid(examples: tuple[Preview, ...], *, key: str) -> None:
    """Images in rows of four, players in rows of two."""
    width = 4 if examples[0].wav is None else 2
    for start in range(0, len(examples), width):
        row = examples[start : start + width]
        for index, (column, preview) in enumerate(zip(st.columns(width), row, strict=False), start):
            with column:
                _one(preview, key=f"{key}-{index}")


def _one(preview: Preview, *, key: str) -> None:
    st.image(preview.image, width="stretch")
    if preview.wav is not None:
        st.audio(preview.wav, format="audio/wav")
    st.download_button(
        preview.file_name, preview.content, preview.file_name, preview.mime, key=f"keep-{key}", on_click="ignore"
    )


def _plain(text: str) -> str:
    """`text` so that what streamlit takes for Markdown, formulas or emoji in it is shown as it was typed."""
    return re.sub(r"([\\`*_\[\]#$:~<>|])", r"\\\1", text)


if __name__ == "__main__":
    main()
