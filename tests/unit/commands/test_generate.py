"""generate: what somebody asks for, or a sentence that says why not."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from linnet.artifacts import Model, Samples
from linnet.commands import generate
from linnet.commands.generate import MANIFEST, PAGE, GenerateOptions
from linnet.errors import LinnetError
from linnet.files import read_json, write_json
from linnet.inference.diffusion_model import NoUnconditionalModeError
from linnet.inference.requests import GenerationError, GenerationRequest
from linnet.modalities.prompts import PromptError
from linnet.reports.samples import samples_page
from linnet.stages import sample
from support.audio_models import CPU, Made, made
from support.tiny import tiny_recipe
from support.training import tiny_model

BIRDS = ("train.duration_kexamples=0.032", "train.grid_every_kexamples=1000.0")
PLAIN = GenerateOptions(prompts=(), count=2, seed=0)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made("music", tmp_path_factory)


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made("voices", tmp_path_factory)


def options(**changes: Any) -> GenerateOptions:
    return GenerateOptions(**(vars(PLAIN) | changes))


def generated(one: Made, chosen: GenerateOptions, out: Path, *, batch_size: int = 8) -> list[NDArray[np.int16]]:
    generate.run(one.recipe.sample, chosen, model=one.model, out=out, device=CPU, batch_size=batch_size)
    found = []
    for row in table(out):
        samples, rate = soundfile.read(out / row["file"], dtype="int16")
        assert rate == one.audio.sample_rate_hz
        found.append(np.asarray(samples))
    return found


def table(out: Path) -> list[dict[str, str]]:
    with (out / MANIFEST).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_prompt_gets_its_samples(music: Made, tmp_path: Path) -> None:
    generated(music, options(prompts=("a bell", 'slow, "minor"')), tmp_path / "out")
    rows = table(tmp_path / "out")
    assert [row["condition"] for row in rows] == ["a bell", "a bell", 'slow, "minor"', 'slow, "minor"']
    assert [row["file"] for row in rows] == [f"{number:06d}.flac" for number in range(4)]
    assert {row["seed"] for row in rows} == {"0"}
    page = (tmp_path / "out" / PAGE).read_text(encoding="utf-8")
    assert page.count("data:audio/wav;base64,") == 4
    assert "a bell" in page
    assert "://" not in page


def test_prompts_and_guidance_change_the_audio_and_equal_requests_give_equal_audio(music: Made, tmp_path: Path) -> None:
    requests = {
        "bell": options(prompts=("bell",), count=1),
        "again": options(prompts=("bell",), count=1),
        "flute": options(prompts=("flute",), count=1),
        "guided": options(prompts=("bell",), count=1, guidance_scale=9.0),
        "unconditional": options(count=1),
        "seed": options(prompts=("bell",), count=1, seed=1),
        "steps": options(prompts=("bell",), count=1, num_steps=9),
    }
    audio = {name: generated(music, chosen, tmp_path / name)[0].tobytes() for name, chosen in requests.items()}
    assert audio.pop("again") == audio["bell"]
    assert len(set(audio.values())) == len(audio)


def test_a_sample_does_not_depend_on_how_many_are_generated(voices: Made, tmp_path: Path) -> None:
    many = generated(voices, options(count=5), tmp_path / "many")
    few = generated(voices, options(count=2), tmp_path / "few", batch_size=1)
    for a, b in zip(few, many, strict=False):
        assert np.abs(a.astype(int) - b.astype(int)).max() <= 2, "rounding of another batch"
    assert len({audio.tobytes() for audio in many}) == 5


def test_without_options_it_generates_what_the_recipe_does(voices: Made, tmp_path: Path) -> None:
    section = voices.recipe.sample
    sample.run(voices.recipe, model=voices.model, out=tmp_path / "samples", device=CPU, batch_size=4)
    expected = np.load(tmp_path / "samples" / Samples.examples)[:4]
    found = generated(voices, options(count=4, seed=section.seed), tmp_path / "out", batch_size=4)
    assert np.array_equal(np.stack(found), expected)


def test_a_recipe_may_generate_longer_than_anybody_may_ask_of_another(music: Made) -> None:
    """A length of 900 s is the recipe's own business; then it may be asked for too."""
    own = music.recipe.sample.length.model_copy(update={"duration_seconds": 900.0})
    section = music.recipe.sample.model_copy(update={"length": own})
    request = GenerationRequest(conditions=(None,), seed=0, duration_seconds=900.0)
    assert request.resolve(music.recipe, section).length == (1 + 900 * 8000 // 16, 900 * 8000, 0.5)
    with pytest.raises(GenerationError, match="seconds = 901: give more than 0 and at most 900"):
        replace(request, duration_seconds=901.0).resolve(music.recipe, section)


def test_what_was_asked_for_is_written_down(music: Made, tmp_path: Path) -> None:
    generated(music, options(prompts=("bell",), count=1, seed=7, num_steps=9, duration_seconds=0.02), tmp_path / "out")
    assert json.loads((tmp_path / "out" / generate.RESULT).read_text()) == {
        "model": str(music.model),
        "model_hash": Model.content_hash(music.model),
        "weights": "ema",
        "prompts": ["bell"],
        "conditions": ["bell"],
        "count": 1,
        "seed": 7,
        "sampler": music.recipe.sample.sampler.model_dump() | {"num_steps": 9},
        "guidance_scale": 1.5,
        "length": {"seconds": 0.02},
    }


def test_longer_audio_overlaps_as_the_recipe_says(music: Made, tmp_path: Path) -> None:
    """Where nobody asks for another length the recipe's windows are generated, not some of another overlap."""
    length = music.recipe.sample.length.model_copy(update={"overlap_fraction": 0.75})
    section = music.recipe.sample.model_copy(update={"length": length})
    audio = []
    for name, chosen in (("half", music.recipe.sample), ("more", section)):
        generate.run(chosen, options(count=1), model=music.model, out=tmp_path / name, device=CPU, batch_size=4)
        audio.append((tmp_path / name / "000000.flac").read_bytes())
    assert audio[0] != audio[1]


@pytest.mark.parametrize(("seconds", "samples"), [(0.1, 800), (0.03, 240), (0.25, 2000), (0.0101, 81), (0.0333, 266)])
def test_audio_is_as_long_as_asked(voices: Made, tmp_path: Path, seconds: float, samples: int) -> None:
    """Also where that is shorter than what the model was trained on, or no whole number of frames."""
    found = generated(voices, options(count=1, duration_seconds=seconds), tmp_path / "out")
    assert len(found[0]) == samples


@pytest.mark.parametrize(
    ("kind", "chosen", "error", "words"),
    [
        (
            "music",
            options(guidance_scale=2.0),
            GenerationError,
            "guidance = 2 needs a label or a prompt to be guided to",
        ),
        (
            "music",
            options(prompts=("a bell",), guidance_scale=-1.0),
            GenerationError,
            "guidance = -1: give a number of 0 or",
        ),
        (
            "music",
            options(prompts=("a bell",), guidance_scale=float("inf")),
            GenerationError,
            "guidance = inf: give a number",
        ),
        ("music", options(seed=-1), GenerationError, "seed = -1: give 0 or more"),
        ("music", options(num_steps=51), GenerationError, "steps = 51: give 1 to 50"),
        ("music", options(num_steps=0), GenerationError, "steps = 0: give 1 to 50"),
        ("music", options(duration_seconds=0.0), GenerationError, "seconds = 0: give more than 0 and at most 600"),
        ("music", options(duration_seconds=601.0), GenerationError, "seconds = 601: give more than 0 and at most 600"),
        ("music", options(duration_seconds=float("nan")), GenerationError, "seconds = nan: give more than 0"),
        ("voices", options(prompts=("a bell",)), PromptError, "it takes no prompt"),
    ],
)
def test_what_cannot_be_is_a_sentence(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    kind: str,
    chosen: GenerateOptions,
    error: type[LinnetError],
    words: str,
) -> None:
    one: Made = request.getfixturevalue(kind)
    with pytest.raises(error, match=words):
        generated(one, chosen, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_without_an_unconditional_mode_needs_a_prompt(music: Made, tmp_path: Path) -> None:
    shutil.copytree(music.model, tmp_path / "model")
    values = read_json(tmp_path / "model" / Model.recipe, made_by="train")
    values["conditioning"]["dropout"] = 0.0
    write_json(tmp_path / "model" / Model.recipe, values)
    one = Made(music.recipe, music.raw, music.dataset, tmp_path / "model")
    assert len(generated(one, options(prompts=("bell",), guidance_scale=1.0), tmp_path / "cond")) == 2
    for chosen in (options(prompts=("bell",)), options(prompts=("bell",), guidance_scale=0.5), options()):
        with pytest.raises(NoUnconditionalModeError, match="Give a prompt and guidance 1"):
            generated(one, chosen, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_page_does_not_speak_of_guidance_where_there_was_none(music: Made, tmp_path: Path) -> None:
    assert music.recipe.sample.guidance_scale == 1.5
    generated(music, options(count=1), tmp_path / "uncond")
    generated(music, options(prompts=("bell",), count=1), tmp_path / "cond")
    pages = [(tmp_path / name / PAGE).read_text(encoding="utf-8") for name in ("uncond", "cond")]
    assert "guidance 1.5" not in pages[0]
    assert "guidance 1.5" in pages[1]


@pytest.mark.parametrize("name", ["thesis.txt", MANIFEST])  # `linnet sample` leaves a samples.csv too
def test_a_folder_that_is_not_ours_is_left_alone(voices: Made, tmp_path: Path, name: str) -> None:
    """--out may be mistyped; what it names is replaced only where generate made it."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("years of work")
    with pytest.raises(GenerationError, match=r"mine: is there already, and was not made by linnet generate"):
        generated(voices, options(count=1), tmp_path / "mine")
    assert (tmp_path / "mine" / name).read_text() == "years of work"
    generated(voices, options(count=1), tmp_path / "out")
    assert len(generated(voices, options(count=2), tmp_path / "out")) == 2


# --- images of classes ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("birds")
    recipe = tiny_recipe(*BIRDS)
    return tiny_model(recipe, folder)


def test_birds_are_generated_by_name(birds: Path, tmp_path: Path) -> None:
    section = tiny_recipe().sample
    generate.run(
        section, options(prompts=("wren", "3"), count=1), model=birds, out=tmp_path / "out", device=CPU, batch_size=4
    )
    rows = table(tmp_path / "out")
    assert [(row["condition"], row["class_number"], row["file"]) for row in rows] == [
        ("002.Sapphire_Wren", "2", "000000.png"),
        ("003.Golden_Warbler", "3", "000001.png"),
    ]
    written = json.loads((tmp_path / "out" / generate.RESULT).read_text())
    assert written["prompts"] == ["wren", "3"]
    assert written["conditions"] == ["002.Sapphire_Wren", "003.Golden_Warbler"]
    page = (tmp_path / "out" / PAGE).read_text(encoding="utf-8")
    assert "<td>0</td><td>002.Sapphire_Wren</td>" in page
    assert "<td>1</td><td>003.Golden_Warbler</td>" in page
    for chosen, words in (
        (options(prompts=("robin",)), "'robin' names no class"),
        (options(prompts=("9",)), "'9' names no class"),
        (options(duration_seconds=3.0), "seconds = 3: this model makes images"),
    ):
        with pytest.raises(LinnetError, match=words):
            generate.run(section, chosen, model=birds, out=tmp_path / "no", device=CPU, batch_size=4)


def test_images_on_request_say_nothing_of_a_way_out_of_the_noise(birds: Path, tmp_path: Path) -> None:
    """Only the page of `linnet sample` has that figure."""
    section = tiny_recipe().sample
    generate.run(section, options(), model=birds, out=tmp_path / "out", device=CPU, batch_size=4)
    page = (tmp_path / "out" / PAGE).read_text(encoding="utf-8")
    assert page.count("<img") == page.count('<img src="data:image/png;base64,') == 1
    assert "Noise becomes an image" not in page
    sample.run(tiny_recipe(*BIRDS), model=birds, out=tmp_path / "samples", device=CPU, batch_size=8)
    page = samples_page(tiny_recipe(*BIRDS), tmp_path / "samples")
    assert page.count('<img src="data:image/png;base64,') == 2
    assert "Noise becomes an image" in page
