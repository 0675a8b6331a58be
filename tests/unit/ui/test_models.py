"""Where the page finds its models, and whether they are the same from a folder and from a real registry."""

import shutil
from pathlib import Path

import pytest

from linnet.artifacts import Model, Report, Samples
from linnet.files import ArtifactError, write_json, write_text
from linnet.registry.pyfunc import log_model
from linnet.tracking.client import connect
from linnet.tracking.failures import TrackingError
from linnet.ui import generation
from linnet.ui.models import (
    WEIGHTS,
    ArgumentsError,
    Built,
    Registered,
    build_folder,
    built_models,
    is_registry_configured,
    load_model,
    model_key,
    registered_models,
)
from support.tiny import tiny_recipe
from support.ui import CPU, built, nothing, request

pytestmark = [  # MLflow's own
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning"),
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated"),
]


@pytest.mark.parametrize(
    ("arguments", "variable", "folder"),
    [([], None, "build"), ([], "other", "other"), (["--build", "here"], "other", "here")],
)
def test_where_the_models_are(
    arguments: list[str], variable: str | None, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LINNET_BUILD", raising=False)
    if variable is not None:
        monkeypatch.setenv("LINNET_BUILD", variable)
    assert build_folder(arguments) == Path(folder)


def test_other_arguments_are_refused() -> None:
    with pytest.raises(ArgumentsError, match="--bild x: the page takes `--build FOLDER`"):
        build_folder(["--bild", "x"])


def test_models_are_found_by_their_recipe(birds: Path) -> None:
    assert [model.title for model in built_models(birds)] == ["birds-tiny", "free"]
    assert built_models(birds / "nowhere") == []


def test_a_key_follows_the_weights_and_the_settings(birds: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(birds / "birds-tiny", folder)
    key = model_key(Built(birds / "birds-tiny" / "model"))
    assert model_key(Built(folder / "model")) == key != model_key(Built(birds / "free" / "model"))
    section = tiny_recipe("sample.guidance_scale=3.0").sample
    write_text(folder / "samples" / Samples.recipe, section.model_dump_json())
    assert model_key(Built(folder / "model")) != key


def test_settings_that_nobody_wrote_down_are_said(birds: Path) -> None:
    model = built(birds, "free")
    assert model.section.sampler.num_steps == 50
    assert "50 steps of ddim are used" in model.note
    assert built(birds, "birds-tiny").note == ""
    assert built(birds, "birds-tiny").section == tiny_recipe("sample.guidance_scale=1.5").sample


def test_settings_that_cannot_be_read_are_named(birds: Path, tmp_path: Path) -> None:
    shutil.copytree(birds / "birds-tiny", tmp_path / "copy")
    write_text(tmp_path / "copy" / "samples" / Samples.recipe, '{"seed": 0}')
    with pytest.raises(ArtifactError, match=r"recipe.json: cannot be used by .* \(sampler: Field required\)"):
        model_key(Built(tmp_path / "copy" / "model"))


def test_looking_for_a_registry_makes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert not is_registry_configured()
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert is_registry_configured()


def test_a_registry_that_does_not_answer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TrackingError, match=r"MLflow at http://127\.0\.0\.1:9: does not answer"):
        registered_models()


def test_a_registered_model_generates_as_the_built_one(birds: Path, workspace: Path) -> None:
    recipe, folder = tiny_recipe("sample.guidance_scale=1.5"), birds / "birds-tiny"
    client = connect()
    run_id = client.create_run(client.create_experiment("x", workspace.as_uri())).info.run_id
    write_json(workspace / Report.metrics, {})
    uri, number = log_model(recipe, run_id, "key", model=folder / "model", report=workspace)
    assert log_model(recipe, run_id, "key", model=workspace, report=workspace) == (uri, number)  # nothing is read again
    name = recipe.register_.model_name
    client.create_registered_model(name)
    client.create_registered_model("of-somebody-else")
    client.create_model_version("of-somebody-else", uri)
    client.set_registered_model_alias("of-somebody-else", "champion", "1")
    for _ in range(3):
        client.create_model_version(name, uri, tags={WEIGHTS: Model.content_hash(folder / "model")})
    client.set_registered_model_alias(name, "challenger", "3")
    client.set_registered_model_alias(name, "champion", "2")
    found = registered_models()
    assert [entry.title for entry in found] == [f"{name}@champion v2", f"{name}@challenger v3"]
    client.set_registered_model_alias(name, "champion", "3")
    assert [entry.title for entry in registered_models()] == [f"{name}@champion v3"]

    model, same = load_model(found[0], CPU), built(birds, "birds-tiny")
    assert model.section == same.section
    pair = [generation.generate(one, request(one, 2), nothing) for one in (model, same)]
    assert [preview.content for preview in pair[0].examples] == [preview.content for preview in pair[1].examples]
    with pytest.raises(TrackingError, match=r"refuses \(.*put right what it names"):
        load_model(Registered(name, 9, "champion", ""), CPU)

    (code,) = workspace.glob("**/code/linnet")
    comment, sampler = code / "inference" / "sampling.py", code / "diffusion" / "samplers.py"
    comment.write_text(comment.read_text(encoding="utf-8") + "# nothing that decides a sample\n", encoding="utf-8")
    load_model(found[0], CPU)
    sampler.write_text(sampler.read_text(encoding="utf-8") + "CHANGED = True\n", encoding="utf-8")
    with pytest.raises(
        ArtifactError, match=r"v2 was registered with other code .*\(different: diffusion/samplers\.py\)"
    ):
        load_model(found[0], CPU)
