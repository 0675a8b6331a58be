import json
from pathlib import Path

import pytest

from linnet.artifacts import Model, Report, write_provenance
from linnet.files import PROVENANCE, ArtifactError, write_json
from linnet.stages import register
from linnet.stages.table import EVALUATE, TRAIN
from support.metrics import metrics_of
from support.tiny import tiny_recipe


@pytest.mark.parametrize(
    ("name", "key", "words"),
    [
        (Report.metrics, "scores", r"metrics\.json has no 'scores': .*run `linnet evaluate` again"),
        (PROVENANCE, "recipe_hash", r"provenance\.json has no 'recipe_hash': .*run `linnet evaluate` again"),
        (PROVENANCE, "inputs", r"provenance\.json has no 'inputs': .*run `linnet evaluate` again"),
        (PROVENANCE, "stage", r"provenance\.json has no 'stage': .*run `linnet evaluate` again"),
    ],
)
def test_reports_of_another_version_say_which_key_is_missing(tmp_path: Path, name: str, key: str, words: str) -> None:
    recipe, model, report = tiny_recipe(), tmp_path / "model", tmp_path / "report"
    model.mkdir()
    report.mkdir()
    for file in (Model.weights, Model.ema_weights, Model.recipe, Model.statistics):
        (model / file).write_text("{}")
    write_provenance(model, TRAIN, [recipe.training()], {})
    metrics_of({}).save(report)
    write_provenance(report, EVALUATE, [recipe.evaluate], {"model": Model.content_hash(model)})
    with pytest.raises(ArtifactError, match="has no 'frechet_thumbnail', which"):  # so far it is a report
        register.run(recipe, model=model, report=report, out=tmp_path / "out")
    values = json.loads((report / name).read_text())
    del values[key]
    write_json(report / name, values)
    with pytest.raises(ArtifactError, match=words):
        register.run(recipe, model=model, report=report, out=tmp_path / "out")


def test_missing_inputs_say_what_to_run_first(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="run `linnet train` first"):
        register.run(tiny_recipe(), model=tmp_path / "model", report=tmp_path / "report", out=tmp_path / "out")
