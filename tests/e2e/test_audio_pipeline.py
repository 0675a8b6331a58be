"""All stages through the command line on tiny music and tiny vocals: the results, a prompt, a repair, a resumed run."""

import base64
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from linnet.hashes import folder_hash
from linnet.recipe import Recipe
from support.commands import linnet, linnet_killed
from support.tiny import tiny_audio_data, tiny_audio_recipe, tiny_music_recipe, write_recipe

pytestmark = pytest.mark.e2e
STAGES = ("preprocess", "train", "sample", "restore", "evaluate", "register")
LONGER = "train.duration_kexamples=0.24"  # 60 steps


@dataclass(frozen=True)
class Finished:
    """A workspace in which every stage ran."""

    folder: Path
    recipe: Recipe
    said: dict[str, str]

    @property
    def file(self) -> str:
        return f"{self.recipe.name}.toml"

    @property
    def build(self) -> Path:
        return self.folder / "build" / self.recipe.name


def finish(recipe: Recipe, raw: Path, folder: Path, database: Path) -> Finished:
    shutil.copy(database, folder / "mlflow.db")
    write_recipe(folder, recipe)
    said = {"ingest": linnet(folder, "ingest", f"{recipe.name}.toml", "--source", str(raw))}
    for stage in STAGES:
        more = ("--checkpoint-seconds", "0") if stage == "train" else ()
        said[stage] = linnet(folder, stage, f"{recipe.name}.toml", *more)
    return Finished(folder, recipe, said)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory, empty_mlflow_database: Path) -> Finished:
    folder = tmp_path_factory.mktemp("music")
    raw = tiny_audio_data(tmp_path_factory.mktemp("raw") / "recordings", "music")
    return finish(tiny_music_recipe("train.grid_every_kexamples=1000.0"), raw, folder, empty_mlflow_database)


@pytest.fixture(scope="module")
def vocals(tmp_path_factory: pytest.TempPathFactory, empty_mlflow_database: Path) -> Finished:
    folder = tmp_path_factory.mktemp("vocals")
    raw = tiny_audio_data(tmp_path_factory.mktemp("raw") / "voices", "voices")
    recipe = tiny_audio_recipe("train.grid_every_kexamples=1000.0", LONGER)
    return finish(recipe, raw, folder, empty_mlflow_database)


@pytest.fixture(params=["music", "vocals"])
def finished(request: pytest.FixtureRequest, music: Finished, vocals: Finished) -> Finished:
    return music if request.param == "music" else vocals


def test_every_result_is_there(finished: Finished) -> None:
    build = finished.build
    assert "8 recordings" in finished.said["ingest"]
    examples = np.load(build / "samples" / "samples.npy")
    assert examples.shape == (12, 400 if finished.recipe.name == "music-tiny" else 240)
    assert [path.name for path in sorted((build / "samples" / "files").iterdir())] == [
        f"{number:06d}.flac" for number in range(3)
    ]
    metrics = json.loads((build / "report" / "metrics.json").read_text())
    assert set(metrics["scores"]) == {"frechet_log_mel", "kernel_log_mel"}
    assert set(metrics["restoration"]) == {known.name for known in finished.recipe.restore.degradations}
    if finished.recipe.name == "music-tiny":
        assert "version 1 is champion" in finished.said["register"]
    else:  # of 240 samples each, and the few that are held out are further from the others than noise is
        assert "version 1 is challenger" in finished.said["register"]
        assert "cannot tell pure noise" in finished.said["register"]
    assert not list(finished.folder.glob(".work/*/train-*"))


def test_all_pages_hold_what_they_show(finished: Finished) -> None:
    for name in ("dataset", "samples", "restorations", "evaluation"):
        page = (finished.build / "pages" / f"{name}.html").read_text(encoding="utf-8")
        assert "data:audio/wav;base64," in page, name
        assert "data:image/png;base64," in page, name
        assert "://" not in page, name
        assert "src='" not in page.replace("src='data:", ""), name
        assert 'src="' not in page.replace('src="data:', ""), name


def test_results_are_summed_up(finished: Finished) -> None:
    said = linnet(finished.folder, "results", str(finished.build.relative_to(finished.folder)))
    assert "frechet_log_mel" in said
    assert "lsd missing_band" in said


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")  # MLflow's own, when it is imported
def test_the_champion_makes_audio_from_a_prompt(music: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.chdir(music.folder)
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    mlflow.set_tracking_uri(f"sqlite:///{music.folder / 'mlflow.db'}")
    model = mlflow.pyfunc.load_model("models:/linnet-music-tiny@champion")
    request = pd.DataFrame(
        [{"num_samples": 2, "seed": 7, "steps": 4, "prompt": "slow bell", "guidance": 2.0, "seconds": 0.1}]
    )
    first, again = model.predict(request), model.predict(request)
    assert list(first["prompt"]) == ["slow bell"] * 2
    assert list(first["flac"]) == list(again["flac"])
    assert len(set(first["flac"])) == 2
    for flac in first["flac"]:
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(flac)))
        assert (rate, len(samples)) == (8000, 800)
    other = model.predict(request.assign(prompt="fast flute"))
    assert other["flac"][0] != first["flac"][0]
    with pytest.raises(mlflow.exceptions.MlflowException, match="needs a label or a prompt"):
        model.predict(pd.DataFrame([{"num_samples": 1, "guidance": 3.0}]))
    with pytest.raises(mlflow.exceptions.MlflowException, match="seconds = 1e\\+09"):
        model.predict(pd.DataFrame([{"num_samples": 1, "seconds": 1e9}]))


def test_audio_is_generated_on_request(music: Finished) -> None:
    linnet(music.folder, "generate", music.file, "a slow bell", "--count", "1", "--seconds", "0.2", "--steps", "3")
    samples, rate = soundfile.read(music.build / "generated" / "000000.flac")
    assert (rate, len(samples)) == (8000, 1600)


def test_a_recording_of_ones_own_is_repaired(vocals: Finished) -> None:
    given = np.sin(2 * np.pi * 440 * np.arange(3000) / 8000) * 0.4
    soundfile.write(vocals.folder / "mine.wav", given, 8000)
    gap = "{kind='inpaint_frames', start_seconds=0.1, gap_seconds=0.01}"
    for name, folder in (("missing_band", "mine"), (gap, "mine-inpaint_frames")):
        linnet(vocals.folder, "repair", vocals.file, "mine.wav", "--degradation", name)
        samples, _ = soundfile.read(vocals.build / "repaired" / folder / "mine.flac")
        assert len(samples) == 3000
    assert np.abs(samples - given)[:700].max() < 1e-3, "away from the gap"
    shutil.copy(vocals.folder / "mine.wav", vocals.folder / "yours.wav")
    linnet(vocals.folder, "repair", vocals.file, "yours.wav", "--degradation", gap)
    for name in ("mine", "yours"):
        assert (vocals.build / "repaired" / name / f"{name}.flac").is_file(), "one file's result leaves another's"
    said = linnet(vocals.folder, "repair", vocals.file, "mine.wav", "--degradation", "flood", status=2)
    assert "no degradation of the recipe (missing_band, noisy)" in said


def test_a_killed_training_resumes_to_the_same_bytes(vocals: Finished, tmp_path: Path) -> None:
    shutil.copytree(vocals.build / "dataset", tmp_path / "build" / vocals.recipe.name / "dataset")
    write_recipe(tmp_path, vocals.recipe)
    arguments = ("train", vocals.file, "--checkpoint-seconds", "0", "--no-track")
    assert linnet_killed(tmp_path, *arguments, when=lambda _: bool(list(tmp_path.glob(".work/*/*/checkpoint-?.pt"))))
    model = tmp_path / "build" / vocals.recipe.name / "model"
    assert not model.exists()
    assert "resuming after step" in linnet(tmp_path, *arguments)
    assert folder_hash(model, leave_out=()) == folder_hash(vocals.build / "model", leave_out=())


def test_a_repeat_does_nothing(music: Finished) -> None:
    before = {stage: (music.build / stage).stat().st_ino for stage in ("dataset", "restored", "report")}
    for stage in ("preprocess", "restore", "evaluate"):
        assert "already" in linnet(music.folder, stage, music.file)
    assert before == {stage: (music.build / stage).stat().st_ino for stage in before}
