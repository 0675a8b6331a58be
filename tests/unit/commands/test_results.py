"""The lines of `linnet results`."""

from pathlib import Path

from linnet.artifacts import Registration
from linnet.commands import results
from linnet.files import write_json
from linnet.metrics.results import Context
from support.metrics import metrics_of


def test_scores_stand_beside_what_to_read_them_by(tmp_path: Path) -> None:
    """And a distance by which real examples are no nearer than noise has a line that says so."""
    for name in ("dataset", "report", "registration"):
        (tmp_path / name).mkdir()
    entry = {"model_name": "linnet-songs", "version": 2, "promoted": False, "reason": "too noisy"}
    write_json(tmp_path / "registration" / Registration.result, entry)
    metrics = metrics_of({"fad": 1.5, "kad": 0.5})
    noisy = {"kad": Context(untrained=150.0, noise=143.0, real=157.0)}
    metrics.model_copy(update={"context": metrics.context | noisy}).save(tmp_path / "report")
    lines = list(results.run(tmp_path))
    assert lines[0] == f"{tmp_path.name}: linnet-songs version 2 is challenger: too noisy"
    assert " ".join(lines[1].split()) == "fad 1.5 (real examples 0.25, pure noise 4, untrained 3)"
    assert " ".join(lines[2].split()) == "kad 0.5 (real examples 157, pure noise 143, untrained 150)"
    assert lines[3].startswith("  kad cannot tell real examples from pure noise here")
    assert sum("cannot tell" in line for line in lines) == 1
