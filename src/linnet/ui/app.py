"""The page: `linnet ui`, or `streamlit run app.py -- --build FOLDER`. What it does: generation.py, models.py."""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar, assert_never

import streamlit as st

from linnet.commands.generate import MAX_SECONDS, usual_seconds
from linnet.errors import LinnetError, explain
from linnet.inference.diffusion_model import pick_device
from linnet.modalities.conditions import label_names
from linnet.models.conditioning import Condition
from linnet.recipe import ClassLabel, MultiLabel, Text, Unconditional
from linnet.ui import generation
from linnet.ui.generation import Asked, Denoised, Drawn, OnProgress, Shown
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
        condition = _ask_condition(model)
        asked = _ask_settings(model, condition)
        samples_tab, denoising_tab = st.tabs(["Samples", "Denoising"])
        with samples_tab:
            _samples_page(model, asked)
        with denoising_tab:
            _denoising_page(model, asked)


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
    place = FOLDER
    if is_registry_configured():
        place = st.sidebar.radio("Models of", [FOLDER, REGISTRY], horizontal=True, key="place")
    choices: list[Choice]
    if place == FOLDER:
        choices = [*built_models(build)]
        nothing = f"No trained model below `{build}`: run `linnet train`, or give another folder with `--build`."
    else:
        choices = [*_registered(os.environ.get("MLFLOW_TRACKING_URI", ""))]
        nothing = "The registry has no champion and no challenger: run `linnet register`."
    if not choices:
        st.info(nothing)
        return None
    return st.sidebar.selectbox("Model", choices, format_func=_title, key=f"model-{place}")


def _title(choice: Choice) -> str:
    return choice.title


def _ask_condition(model: TrainedModel) -> Condition:
    section = model.diffusion_model.recipe.conditioning
    match section:
        case Unconditional():
            st.caption("This model takes no prompt.")
            return None
        case ClassLabel(num_classes=room):
            names = label_names(model.statistics)[:room]
            return st.selectbox(
                "Class",
                range(len(names)),
                index=None,
                format_func=lambda number: names[number],
                placeholder="any class",
                key=f"class-{model.key}",
            )
        case MultiLabel():
            labels = label_names(model.statistics)
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


def _ask_settings(model: TrainedModel, condition: Condition) -> Asked:
    """The sidebar; a model's own settings are where it starts."""
    bar, section, recipe = st.sidebar, model.section, model.diffusion_model.recipe
    count = bar.number_input("How many", 1, MAX_EXAMPLES, 4, key="count")
    seed = bar.number_input("Seed", 0, MAX_SEED, 0, key="seed")
    timesteps = recipe.diffusion.schedule.num_timesteps
    usual_steps = min(section.sampler.num_steps, timesteps)
    steps = bar.number_input(f"Steps of {section.sampler.kind}", 1, timesteps, usual_steps, key=f"steps-{model.key}")
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
    if (usual := usual_seconds(recipe, section)) is not None:
        least, most = min(LEAST_SECONDS, usual), max(MAX_SECONDS, usual)
        seconds = bar.number_input("Seconds", least, most, usual, format="%.3f", key=f"seconds-{model.key}")
    bar.caption("The same model, prompt, settings and seed give the same result.")
    guidance = guidance if condition is not None else None
    return Asked(seed, steps, guidance, seconds, condition=condition, count=count)


def _samples_page(model: TrainedModel, asked: Asked) -> None:
    drawn: list[Drawn] = st.session_state.setdefault("drawn", [])
    if st.button("Draw", type="primary", key="draw"):
        with _in_one_sentence():
            result = _with_bar("Drawing", lambda on_progress: generation.draw(model, asked, on_progress))
            drawn.insert(0, result)
            del drawn[KEPT:]
    for place, result in enumerate(drawn):
        st.subheader(_plain(result.title))
        st.caption(f"{result.settings}. {len(result.examples)} in {result.took_seconds:.1f} s.")
        _grid(result.examples, key=f"drawn-{place}")
    if len(drawn) > 1 and st.button("Forget all but the newest", key="forget"):
        del drawn[1:]
        st.rerun()


def _denoising_page(model: TrainedModel, asked: Asked) -> None:
    left, right = st.columns([1, 3], vertical_alignment="bottom")
    number = left.number_input(f"Which of the {asked.count} examples, from 0", 0, asked.count - 1, 0, key="number")
    if right.button("Watch it come out of the noise", type="primary", key="denoise"):
        with _in_one_sentence():
            st.session_state["denoised"] = _with_bar(
                "Drawing", lambda on_progress: generation.denoise(model, asked, number, on_progress)
            )
    if "denoised" in st.session_state:
        _show_denoised(st.session_state["denoised"])


def _show_denoised(denoised: Denoised) -> None:
    snapshots = denoised.snapshots
    st.subheader(_plain(denoised.title))
    st.caption(f"{denoised.settings}.")
    last = len(snapshots) - 1
    place = st.slider("From noise to the example", 0, last, last, key=f"snapshot-{last}")
    st.image(generation.strip(snapshots), width="stretch")
    chosen = snapshots[place]
    when = "finished" if chosen.timestep < 0 else f"timestep {chosen.timestep}"
    st.markdown(f"**{when}**: {chosen.noise_fraction:.0%} of the variance is noise")
    left, _ = st.columns([1, 2])
    with left:
        _one(chosen.shown, key="snapshot")


def _with_bar(words: str, work: Callable[[OnProgress], T]) -> T:
    """What `work` returns, with a bar while it works."""
    bar = st.progress(0.0, text=words)

    def on_progress(fraction: float) -> None:
        bar.progress(fraction, text=words)

    try:
        return work(on_progress)
    finally:
        bar.empty()


def _grid(examples: tuple[Shown, ...], *, key: str) -> None:
    """Images in rows of four, players in rows of two."""
    width = 4 if examples[0].wav is None else 2
    for start in range(0, len(examples), width):
        row = examples[start : start + width]
        for place, (column, shown) in enumerate(zip(st.columns(width), row, strict=False), start):
            with column:
                _one(shown, key=f"{key}-{place}")


def _one(shown: Shown, *, key: str) -> None:
    st.image(shown.image, width="stretch")
    if shown.wav is not None:
        st.audio(shown.wav, format="audio/wav")
    st.download_button(
        shown.file_name, shown.content, shown.file_name, shown.mime, key=f"keep-{key}", on_click="ignore"
    )


def _plain(text: str) -> str:
    """`text` so that what streamlit takes for Markdown, formulas or emoji in it is shown as it was typed."""
    return re.sub(r"([\\`*_\[\]#$:~<>|])", r"\\\1", text)


if __name__ == "__main__":
    main()
