"""The page about a training shows its history and grids, and what it took where that is known."""

import json
from pathlib import Path

import numpy as np
import pytest

from linnet.artifacts import Model
from linnet.files import ArtifactError
from linnet.reports.html import save_png
from linnet.reports.training import training_page

COST = {
    "device": "an accelerator",
    "devices": 4,
    "precision": "bf16",
    "seconds": 5400.0,
    "device_hours": 6.0,
    "peak_memory_bytes": 3 * 2**30,
    "throughput": {
        "examples_per_second": 1234.0,
        "tflops_per_second": 45.0,
        "peak_share": 0.375,
        "data_wait_share": 0.0,
    },
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / Model.grids).mkdir(parents=True)
    rows = [f"{step},{16 * step},{1 / step},{2 / step},0.001" for step in range(10, 110, 10)]
    (folder / Model.history).write_text("\n".join(["step,examples,loss,gradient_norm,learning_rate", *rows]) + "\n")
    for step in range(10, 110, 10):
        save_png(folder / Model.grids / f"step_{step:08d}.png", np.full((2, 2, 3), step, dtype=np.uint8))
    return folder


def test_history_and_some_grids_from_the_first_to_the_last(model: Path) -> None:
    page = training_page("birds", model)
    assert "Training of birds" in page
    assert "1,600 examples in 100 steps, last loss 0.01." in page
    assert (
        'points="46.0,0.0 92.0,60.0' in page
    )  # x of 160 in 1,600 examples; y of 0.1, then of 0.05, the largest on top
    assert page.count("<figure>") == 2 + 6
    assert "after 10 steps" in page
    assert "after 100 steps" in page
    assert "What it took" not in page


def test_costs_are_told_where_they_are_known(model: Path) -> None:
    Model.cost(model).write_text(json.dumps(COST))
    page = training_page("birds", model)
    for text in (
        "4 x an accelerator, bf16",
        "90.0 min, stops left out; 6 device hours",
        "3.00 GiB at most",
        "1,234 examples/s, 45 TFLOP/s, 38% of the peak",
    ):
        assert text in page
    Model.cost(model).write_text(json.dumps(COST | {"throughput": None}))
    assert "examples/s" not in training_page("birds", model)


def test_a_damaged_history_is_one_sentence(model: Path) -> None:
    (model / Model.history).write_text("step,examples\n1,2\n")
    with pytest.raises(ArtifactError, match=r"model has no readable history or grids; run `linnet train` again"):
        training_page("birds", model)
