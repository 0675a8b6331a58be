"""evaluate with audio: scores with their context, restorations beside baselines, copies that are found out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from linnet.artifacts import Dataset, Report, Samples
from linnet.data.arrays import open_array
from linnet.metrics.results import Metrics
from linnet.recipe import Recipe
from linnet.reports.evaluation import evaluation_page
from linnet.stages import evaluate, restore, sample
from support.audio_models import BATCH, CPU, Made


@pytest.fixture(scope="module")
def report(either: Made, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    restored = folder / "restored"
    restore.run(either.recipe, dataset=either.dataset, model=either.model, out=restored, device=CPU, batch_size=2)
    measure(either, samples, restored, folder / "report")
    return folder / "report"


def measure(one: Made, samples: Path, restored: Path, out: Path) -> Metrics:
    evaluate.run(
        one.recipe,
        dataset=one.dataset,
        model=one.model,
        samples=samples,
        restored=restored,
        out=out,
        device=CPU,
        feature_weights=None,
        feature_sha256=None,
        batch_size=8,
        track_run=False,
    )
    return Metrics.load(out)


def test_scores_stand_with_their_context_and_protocol(either: Made, report: Path) -> None:
    metrics = Metrics.load(report)
    names = {"frechet_log_mel", "kernel_log_mel"}
    assert set(metrics.scores) == set(metrics.intervals) == set(metrics.context) == names
    for name in names:
        assert np.isfinite(metrics.scores[name])
        assert metrics.intervals[name].low < metrics.intervals[name].high
        assert len({metrics.scores[name], *vars(metrics.context[name]).values()}) == 4
        protocol = metrics.protocols[name]
        assert f"12 samples against {either.statistics.test_count} test" in protocol
        assert "8000 Hz" in protocol
    assert metrics.reference.split == "test"


def test_as_many_real_windows_as_the_samples_have_segments(music: Made, tmp_path: Path) -> None:
    """A tenth of a second is three windows of 30 ms; of 40 samples not all of the split's windows are enough."""
    num_real = music.statistics.train_count
    assert 36 < num_real < 120
    for num_samples, expected in ((12, 36), (40, num_real)):
        changed = music.recipe.model_dump(by_alias=True)
        changed["restore"]["degradations"] = []
        changed["sample"] |= {
            "num_samples": num_samples,
            "length": {"kind": "longer", "duration_seconds": 0.1, "overlap_fraction": 0.5},
        }
        longer = replace(music, recipe=Recipe.model_validate(changed))
        folder = tmp_path / str(num_samples)
        folder.mkdir()
        sample.run(longer.recipe, model=music.model, out=folder / "samples", device=CPU, batch_size=BATCH)
        restore.run(
            longer.recipe, dataset=music.dataset, model=music.model, out=folder / "restored", device=CPU, batch_size=2
        )
        metrics = measure(longer, folder / "samples", folder / "restored", folder / "report")
        segments = 3 * num_samples
        assert metrics.counts == {
            "reference": music.statistics.test_count,
            "model": segments,
            "untrained": segments,
            "noise": segments,
            "real": expected,
        }


def test_restorations_are_scored_beside_baseline_and_observation(either: Made, samples: Path, report: Path) -> None:
    metrics = Metrics.load(report)
    assert set(metrics.restoration) == {degradation.name for degradation in either.recipe.restore.degradations}
    for found in metrics.restoration.values():
        assert "lsd" in found
        for scores in found.values():
            assert all(np.isfinite(value) for value in vars(scores).values())
    page = evaluation_page(either.recipe, dataset=either.dataset, samples=samples, report=report)
    assert all(degradation.name in page for degradation in either.recipe.restore.degradations)
    assert "data:audio/wav;base64," in page
    assert "://" not in page


def test_samples_that_are_training_examples_are_found_out(either: Made, samples: Path, report: Path) -> None:
    """A copy of a training example, however it goes on, is at a distance of 0 from it."""
    copies = np.array(open_array(either.dataset / Dataset.waveforms("train"))[:12])
    length = np.load(samples / Samples.examples).shape[1]
    longer = np.pad(copies, ((0, 0), (0, length - copies.shape[1])), mode="wrap")
    medians, pairs = evaluate.find_copies(
        either.codec,
        longer,
        np.array(open_array(either.dataset / Dataset.waveforms("train"))),
        np.array(open_array(either.dataset / Dataset.waveforms("test"))),
    )
    assert medians.sample_median == 0
    assert medians.real_median > 0
    assert Metrics.load(report).memorization.sample_median > 0
    assert pairs.shape == (4, 2, copies.shape[1])
    assert np.array_equal(pairs[:, 0], pairs[:, 1])


def test_a_report_holds_examples_for_people(either: Made, samples: Path, report: Path) -> None:
    array = np.load(samples / Samples.examples)
    untrained, neighbours = (np.load(report / name) for name in (Report.untrained, Report.neighbours))
    assert (untrained.dtype, untrained.shape) == (np.int16, (4, array.shape[1]))
    train = open_array(either.dataset / Dataset.waveforms("train"))
    assert neighbours.shape == (4, 2, train.shape[1])
    for sample_, nearest in neighbours:
        assert any(np.array_equal(sample_, one[: train.shape[1]]) for one in array)
        assert any(np.array_equal(nearest, one) for one in train)
