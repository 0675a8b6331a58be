"""The page as streamlit's own tester runs it, on models trained for four steps."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from streamlit.testing.v1 import AppTest

from linnet.artifacts import Model, Samples
from linnet.files import read_json, write_json, write_text
from linnet.recipe import Longer
from linnet.ui.models import Built
from support.tiny import tiny_music_recipe, tiny_recipe

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")  # MLflow's own
Page = Callable[..., AppTest]


def test_a_class_model_generates_images(birds: Path, open_page: Page) -> None:
    page = open_page("--build", birds)
    assert not page.exception
    assert not page.radio  # no registry to choose
    assert page.sidebar.slider[0].disabled  # guidance without a class
    page.main.selectbox[0].select(2)
    page.number_input(key="count").set_value(3)
    page.button(key="generate").click().run()
    assert not page.exception
    assert [title.value for title in page.subheader] == [r"birds-tiny\: 003.Golden\_Warbler"]
    assert page.main.caption[0].value.startswith(
        f"seed 0, 5 steps of {tiny_recipe().sample.sampler.kind}, guidance 1.5. 3 in "
    )
    assert len(page.image) == len(page.get("download_button")) == 3
    assert not page.sidebar.slider[0].disabled
    first = page.session_state["results"][0]
    page.button(key="generate").click().run()
    again = page.session_state["results"][0]
    assert again is not first
    assert [preview.content for preview in again.examples] == [preview.content for preview in first.examples]
    page.button(key="forget").click().run()
    assert page.session_state["results"] == [again]


def test_only_trained_classes_are_offered_with_their_own_numbers(birds: Path, tmp_path: Path, open_page: Page) -> None:
    """Of classes called 1 to 8 the last is number 80 of its data set, and the second was never seen."""
    shutil.copytree(birds / "birds-tiny", tmp_path / "build" / "counted")
    path = tmp_path / "build" / "counted" / "model" / Model.statistics
    values = read_json(path, made_by="train")
    changes = {"class_names": [*"12345678"], "class_numbers": list(range(10, 90, 10))}
    counts = [0 if label == 1 else count for label, count in enumerate(values["class_counts"])]
    write_json(path, values | changes | {"class_counts": counts})
    page = open_page("--build", tmp_path / "build")
    names = [f"{name} (class number {10 * name})" for name in (1, 3, 4, 5, 6, 7, 8)]
    assert page.main.selectbox[0].options == names
    page.main.selectbox[0].select(7)
    page.button(key="generate").click().run()
    assert not page.exception
    assert [title.value for title in page.subheader] == [r"counted\: 8 (class number 80)"]


def test_an_unconditional_model_takes_no_prompt(birds: Path, open_page: Page) -> None:
    page = open_page("--build", birds)
    page.sidebar.selectbox[0].set_value(Built(birds / "free" / "model")).run()
    assert "50 steps of ddim are used" in page.info[0].value
    assert page.main.caption[0].value == "This model takes no prompt."
    assert not page.sidebar.slider
    assert not page.main.selectbox


def test_a_text_model_makes_audio(music: Path, open_page: Page) -> None:
    page = open_page("--build", music)
    page.sidebar.selectbox[0].set_value(Built(music / "music-tiny" / "model")).run()
    for word in ("bell", "fast"):
        page.pills(key="suggestion").set_value(word).run()
    assert page.text_area(key="prompt").value == "bell, fast"
    page.button(key="generate").click().run()
    assert not page.exception
    assert [title.value for title in page.subheader] == [r"music-tiny\: bell, fast"]
    assert len(page.get("audio")) == len(page.image) == 4


def test_a_model_of_labels_offers_them(music: Path, open_page: Page) -> None:
    page = open_page("--build", music)
    page.multiselect[0].select("bell").select("fast")
    page.button(key="generate").click().run()
    assert not page.exception
    assert [title.value for title in page.subheader] == [r"album\: bell, fast"]


def test_a_recipe_of_very_long_audio_has_a_page(music: Path, tmp_path: Path, open_page: Page) -> None:
    shutil.copytree(music / "music-tiny", tmp_path / "build" / "music-tiny")
    long = {"length": Longer(kind="longer", duration_seconds=900.0, overlap_fraction=0.5)}
    section = tiny_music_recipe().sample.model_copy(update=long)
    write_text(tmp_path / "build" / "music-tiny" / "samples" / Samples.recipe, section.model_dump_json())
    page = open_page("--build", tmp_path / "build")
    assert not page.exception
    (seconds,) = [field for field in page.number_input if field.label == "Seconds"]
    assert (seconds.value, seconds.max) == (900, 900)


def test_denoising_has_a_slider(birds: Path, open_page: Page) -> None:
    page = open_page("--build", birds)
    page.number_input(key="index").set_value(3)
    page.button(key="denoise").click().run()
    assert not page.exception
    assert "finished" in page.markdown[0].value
    page.slider(key="snapshot-5").set_value(0).run()
    assert page.markdown[0].value.startswith("**timestep 49**: 100% of the variance")
    page.number_input(key="count").set_value(2).run()  # there is no example 3 any more
    assert not page.exception
    assert page.number_input(key="index").value in (0, 1)


def test_without_models_the_page_says_what_to_do(tmp_path: Path, open_page: Page) -> None:
    page = open_page("--build", tmp_path)
    assert not page.exception
    assert "run `linnet train`" in page.info[0].value


def test_a_damaged_model_is_one_sentence(birds: Path, tmp_path: Path, open_page: Page) -> None:
    shutil.copytree(birds / "birds-tiny", tmp_path / "build" / "broken")
    ema = tmp_path / "build" / "broken" / "model" / Model.ema_weights
    ema.write_bytes(ema.read_bytes()[:100])
    write_text(ema.parent / "provenance.json", '{"stage": "train", "content_hash": "broken"}')
    page = open_page("--build", tmp_path / "build")
    assert not page.exception
    assert len(page.error) == 1
    assert f"{ema}: cannot be loaded" in page.error[0].value
    assert "Traceback" not in page.error[0].value


def test_audio_that_is_no_number_is_one_sentence(music: Path, tmp_path: Path, open_page: Page) -> None:
    shutil.copytree(music / "album", tmp_path / "build" / "album")
    ema = tmp_path / "build" / "album" / "model" / Model.ema_weights
    save_file({name: value * torch.nan for name, value in load_file(ema).items()}, ema)
    write_text(ema.parent / "provenance.json", '{"stage": "train", "content_hash": "nan"}')
    page = open_page("--build", tmp_path / "build")
    page.button(key="generate").click().run()
    assert not page.exception
    assert page.error[0].value.startswith("the model made infinite or undefined audio")
    assert page.session_state["results"] == []
    page.button(key="denoise").click().run()
    assert len(page.error) == 1
    assert "denoising" not in page.session_state


def test_wrong_arguments_are_one_sentence(open_page: Page) -> None:
    page = open_page("--bild", "x")
    assert not page.exception
    assert [error.value for error in page.error] == ["--bild x: the page takes `--build FOLDER` and nothing else"]


def test_a_registry_without_models_says_so(birds: Path, workspace: Path, open_page: Page) -> None:
    page = open_page("--build", birds)
    page.radio(key="origin").set_value("registry").run()
    assert not page.exception
    assert "no champion and no challenger" in page.info[0].value
