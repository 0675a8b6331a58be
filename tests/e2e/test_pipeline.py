"""All stages through the command line on a tiny recipe: the result, repeats, and SIGKILL at any point."""

import base64
import io
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from linnet.hashes import folder_hash
from linnet.recipe import Recipe
from pipelines.sweep import read_metrics
from support.commands import linnet, linnet_killed
from support.tiny import tiny_raw_data, tiny_recipe, write_tiny_recipe

pytestmark = pytest.mark.e2e
NAME = "birds-tiny"
LONGER = ("--set", "train.duration_kexamples=1.6")  # 400 steps
LONG_TRAINING = (*LONGER, "--checkpoint-seconds", "0")


@dataclass(frozen=True)
class Stage:
    arguments: tuple[str, ...]
    out: str
    inputs: tuple[str, ...]


STAGES = {
    "ingest": Stage(("--source", "raw"), "data/birds", ("raw",)),
    "preprocess": Stage((), f"build/{NAME}/dataset", ("data",)),
    "train": Stage(LONG_TRAINING, f"build/{NAME}/model", (f"build/{NAME}/dataset",)),
    "sample": Stage(LONGER, f"build/{NAME}/samples", (f"build/{NAME}/model",)),
    "restore": Stage(LONGER, f"build/{NAME}/restored", (f"build/{NAME}/dataset", f"build/{NAME}/model")),
    "evaluate": Stage(
        LONGER,
        f"build/{NAME}/report",
        tuple(f"build/{NAME}/{folder}" for folder in ("dataset", "model", "samples", "restored")),
    ),
    "register": Stage(LONGER, f"build/{NAME}/registration", (f"build/{NAME}/model", f"build/{NAME}/report")),
}


@dataclass(frozen=True)
class Finished:
    """A workspace in which every stage ran undisturbed, and how long each took."""

    folder: Path
    recipe: Recipe
    seconds: dict[str, float]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, empty_mlflow_database: Path) -> Finished:
    folder = tmp_path_factory.mktemp("workspace")
    shutil.copy(empty_mlflow_database, folder / "mlflow.db")
    tiny_raw_data(folder / "raw")
    write_tiny_recipe(folder)
    seconds = {}
    for name, stage in STAGES.items():
        started = time.monotonic()
        linnet(folder, name, f"{NAME}.toml", *stage.arguments)
        seconds[name] = time.monotonic() - started
    return Finished(folder, tiny_recipe(), seconds)


def test_every_result_is_there(finished: Finished) -> None:
    build = finished.folder / "build" / NAME
    samples = np.load(build / "samples" / "samples.npy")
    assert samples.shape == (12, 16, 16, 3)
    files = sorted((build / "samples" / "files").iterdir())
    assert [file.name for file in files] == ["000000.png", "000001.png", "000002.png"]
    with Image.open(files[1]) as image:
        assert np.array_equal(np.asarray(image), samples[1])
    assert np.load(build / "samples" / "noising.npy").shape == (4, 10, 16, 16, 3)
    metrics = json.loads((build / "report" / "metrics.json").read_text())
    assert read_metrics("x", "frechet_thumbnail", json.dumps(metrics))["status"] == "measured", "sweeps read it too"
    assert set(metrics["scores"]) == {"frechet_thumbnail", "kernel_thumbnail", "frechet_texture", "kernel_texture"}
    for name, score in metrics["scores"].items():
        assert metrics["intervals"][name]["low"] <= score <= metrics["intervals"][name]["high"]
        assert set(metrics["context"][name]) == {"untrained", "noise", "real"}
    assert metrics["restoration"].keys() == {known.name for known in finished.recipe.restore.degradations}
    for scores in metrics["restoration"].values():
        assert all(set(values) == {"restored", "baseline", "observed"} for values in scores.values())
        assert scores
    for degradation in finished.recipe.restore.degradations:
        restored = np.load(build / "restored" / degradation.name / "restored.npy")
        assert restored.shape == (2, 3, 16, 16)
        assert np.isfinite(restored).all()
    pages = sorted((build / "pages").iterdir())
    assert [page.stem for page in pages] == ["dataset", "evaluation", "restorations", "samples"]
    for page in (*pages, build / "training.html"):
        text = page.read_text()
        assert "data:image/png;base64," in text
        assert "://" not in text
    history = pd.read_csv(build / "model" / "history.csv")
    assert list(history["step"]) == list(range(5, 401, 5))
    assert history["loss"].iloc[-10:].mean() < history["loss"].iloc[:3].mean()
    assert not list(finished.folder.glob(".work/*/train-*"))  # no checkpoint is left behind


def test_a_repeat_does_nothing(finished: Finished) -> None:
    for name, stage in STAGES.items():
        before = (finished.folder / stage.out).stat().st_mtime_ns
        said = linnet(finished.folder, name, f"{NAME}.toml", *stage.arguments)
        if name == "register":  # it asks the registry, which may have been emptied
            assert "version 1 is champion" in said
        else:
            assert "already" in said or name == "ingest"
            assert (finished.folder / stage.out).stat().st_mtime_ns == before


@pytest.mark.parametrize("name", STAGES)
def test_sigkill_and_repeat_ends_in_the_same_bytes(
    finished: Finished, name: str, tmp_path: Path, empty_mlflow_database: Path
) -> None:
    stage = STAGES[name]
    for path in stage.inputs:
        shutil.copytree(finished.folder / path, tmp_path / path)
    write_tiny_recipe(tmp_path)
    shutil.copy(empty_mlflow_database, tmp_path / "mlflow.db")
    out = tmp_path / stage.out
    partial = out.with_name(f".{out.name}.partial")
    arguments = (name, f"{NAME}.toml", *stage.arguments)

    def working(_: float) -> bool:
        return partial.exists() or bool(list(tmp_path.glob(".work/*/*/checkpoint-?.pt")))

    killed = [linnet_killed(tmp_path, *arguments, when=working)]
    assert killed == [True], "the stage must be hit while it works"
    assert not out.exists(), "a killed stage must not leave a result"
    for share in (0.6, 0.9):
        limit = share * finished.seconds[name]
        killed.append(linnet_killed(tmp_path, *arguments, when=lambda seconds, limit=limit: seconds > limit))  # type: ignore[misc]
    linnet(tmp_path, *arguments)
    everything = {"leave_out": ()}
    assert folder_hash(out, **everything) == folder_hash(finished.folder / stage.out, **everything)
    assert not partial.exists()


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")  # MLflow's own, when it is imported
def test_the_champion_loads_and_samples(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.chdir(finished.folder)
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    mlflow.set_tracking_uri(f"sqlite:///{finished.folder / 'mlflow.db'}")
    client = mlflow.MlflowClient()
    version = client.get_model_version_by_alias("linnet-birds-tiny", "champion")
    assert version.tags["linnet.gate.decision"] == "promoted"
    assert {"linnet.git_commit", "linnet.data_hash", "linnet.recipe_hash", "linnet.version.torch"} <= set(version.tags)
    assert version.run_id is not None
    run = client.get_run(version.run_id)
    assert run.data.params["train.batch_size"] == "4"
    assert {"loss", "learning_rate", "frechet_thumbnail"} <= set(run.data.metrics)
    speed = {"examples_per_second", "tflops_per_second", "peak_share", "memory_gib", "device_hours"}
    assert all(run.data.metrics[name] > 0 for name in speed)
    assert run.data.metrics["hours_left"] == 0  # of the last row
    assert 0 <= run.data.metrics["data_wait_share"] < 1
    assert run.inputs is not None
    assert run.inputs.dataset_inputs[0].dataset.name == "birds"

    model = mlflow.pyfunc.load_model("models:/linnet-birds-tiny@champion")
    request = pd.DataFrame([{"num_samples": 3, "seed": 7, "steps": 4, "label": 2, "guidance": 2.0}])
    first, again = model.predict(request), model.predict(request)
    assert list(first["number"]) == [0, 1, 2]
    assert list(first["png"]) == list(again["png"])
    images = [Image.open(io.BytesIO(base64.b64decode(png))) for png in first["png"]]
    assert {image.size for image in images} == {(16, 16)}
    assert len(set(first["png"])) == 3
    fewer = model.predict(request.assign(num_samples=1))
    assert fewer["png"][0] == first["png"][0]
    plain = model.predict(pd.DataFrame([{"num_samples": 2}]))
    assert (list(plain["label"]), list(plain["class_name"])) == ([-1, -1], ["", ""])
    assert (list(first["label"]), list(first["class_name"])) == ([2] * 3, ["002.Sapphire_Wren"] * 3)
    for bad, words in (
        ({"num_samples": 0}, "num_samples = 0"),
        ({"num_samples": 1, "label": 9}, "class number 9: this model knows 1, 2"),
        ({"num_samples": 1, "steps": 51}, "steps = 51: give 1 to 50"),
        ({"num_samples": 1, "guidance": 3.0}, "needs a label"),
    ):
        with pytest.raises(mlflow.exceptions.MlflowException, match=words):
            model.predict(pd.DataFrame([bad]))


def test_only_sample_settings_changed_retrains_nothing(finished: Finished, tmp_path: Path) -> None:
    shutil.copytree(finished.folder / "build", tmp_path / "build")
    write_tiny_recipe(tmp_path)
    changed = ("--set", "sample.seed=1", *LONGER)
    said = linnet(tmp_path, "train", f"{NAME}.toml", *LONG_TRAINING, "--no-track", *changed)
    assert "already trained" in said
    assert "already" not in linnet(tmp_path, "sample", f"{NAME}.toml", *changed)
    said = linnet(tmp_path, "evaluate", f"{NAME}.toml", *LONGER, "--no-track", status=1)
    assert "samples was made with other settings" in said
    linnet(tmp_path, "evaluate", f"{NAME}.toml", *changed, "--no-track")
    also_restored = (*changed, "--set", "restore.seed=1")
    said = linnet(tmp_path, "evaluate", f"{NAME}.toml", *also_restored, "--no-track", status=1)
    assert "restored was made with other settings than this recipe has; run `linnet restore` again" in said


def test_what_does_not_belong_together_is_refused(finished: Finished, tmp_path: Path) -> None:
    shutil.copytree(finished.folder / "build", tmp_path / "build")
    shutil.copytree(finished.folder / "data", tmp_path / "data")
    write_tiny_recipe(tmp_path)
    for stage in ("sample", "restore", "evaluate", "register"):  # a model of 400 steps, a recipe of 24
        assert "model was made with other settings" in linnet(tmp_path, stage, f"{NAME}.toml", status=1)
    linnet(tmp_path, "preprocess", f"{NAME}.toml", *LONGER, "--set", "data.split.seed=5")
    split = ("--set", "data.split.seed=5")
    assert "other settings" in linnet(tmp_path, "evaluate", f"{NAME}.toml", *LONGER, *split, "--no-track", status=1)
    assert "trained on other data" in linnet(tmp_path, "evaluate", f"{NAME}.toml", *LONGER, "--no-track", status=1)
    assert "trained on other data" in linnet(
        tmp_path, "restore", f"{NAME}.toml", *LONGER, "--set", "restore.seed=1", status=1
    )


def test_damage_is_repaired_by_repeating(finished: Finished, tmp_path: Path) -> None:
    shutil.copytree(finished.folder / "build", tmp_path / "build")
    shutil.copytree(finished.folder / "data", tmp_path / "data")
    write_tiny_recipe(tmp_path)
    images = tmp_path / "build" / NAME / "dataset" / "train_images.npy"
    whole = images.read_bytes()
    images.write_bytes(whole[:1000])
    assert "already" not in linnet(tmp_path, "preprocess", f"{NAME}.toml")
    assert images.read_bytes() == whole
    manifest = tmp_path / "build" / NAME / "samples" / "samples.csv"
    manifest.unlink()
    linnet(tmp_path, "sample", f"{NAME}.toml", *LONGER)
    assert manifest.is_file()
    observed = tmp_path / "build" / NAME / "restored" / "upscaled" / "observed.npy"
    whole = observed.read_bytes()
    observed.write_bytes(whole[:-1])
    assert "already" not in linnet(tmp_path, "restore", f"{NAME}.toml", *LONGER)
    assert observed.read_bytes() == whole


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("check", "nowhere.toml"), 2, "nowhere.toml: cannot be read"),
        (("train", f"{NAME}.toml", "--set", "train.batchsize=3"), 2, "did you mean 'batch_size'?"),
        (("preprocess", f"{NAME}.toml", "--data", "empty"), 1, "below data/ `linnet ingest` (or `dvc pull`) brings it"),
        (("train", f"{NAME}.toml", "--build", "empty"), 1, "run `linnet preprocess` first"),
        (("sample", f"{NAME}.toml", "--build", "empty"), 1, "run `linnet train` first"),
        (("restore", f"{NAME}.toml", "--build", "empty"), 1, "run `linnet train` first"),
        (("ingest", f"{NAME}.toml", "--source", "nowhere"), 1, "--source nowhere: no such file or folder"),
        (("train", f"{NAME}.toml", "--device", "tpu"), 1, "--device tpu"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, arguments: tuple[str, ...], status: int, words: str) -> None:
    write_tiny_recipe(tmp_path)
    said = linnet(tmp_path, *arguments, status=status)
    assert words in said
    assert "Traceback" not in said
