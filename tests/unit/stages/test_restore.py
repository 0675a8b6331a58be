"""restore: arrays and previews of held-out examples, and what is measured of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from linnet.artifacts import Dataset, Restored
from linnet.audio.pcm import decode_waveform
from linnet.data.arrays import open_array
from linnet.files import ArtifactError
from linnet.hashes import folder_hash
from linnet.recipe import ComplexSpectrogram, Recipe
from linnet.reports.restorations import restorations_page
from linnet.stages import restore
from linnet.stages.evaluate import measure_restorations
from support.audio_models import CPU, Made, made


@pytest.fixture(scope="module", params=["voices", "music"])
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def results(either: Made, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path]:
    """The whole stage."""
    out = tmp_path_factory.mktemp("restored") / "out"
    restore.run(either.recipe, dataset=either.dataset, model=either.model, out=out, device=CPU, batch_size=2)
    return either.recipe, out


def test_every_degradation_leaves_its_five_arrays(either: Made, results: tuple[Recipe, Path]) -> None:
    recipe, out = results
    for degradation in recipe.restore.degradations:
        folder = out / degradation.name
        clean, observed, restored, baseline, mask = (
            torch.tensor(open_array(folder / name))
            for name in (Restored.clean, Restored.observed, Restored.restored, Restored.baseline, Restored.mask)
        )
        assert clean.shape == observed.shape == restored.shape == baseline.shape == (2, *either.audio.shape)
        gone = mask.expand_as(clean)
        if degradation.noise_std == 0:
            for name, found in (("observed", observed), ("restored", restored), ("baseline", baseline)):
                torch.testing.assert_close(
                    found[~gone], clean[~gone], rtol=1e-4, atol=1e-5, msg=f"{degradation.name} {name}"
                )
        assert not observed[gone].any()
        assert (baseline - clean).norm() > 0


def test_clean_examples_are_those_of_the_test_split(either: Made, results: tuple[Recipe, Path]) -> None:
    recipe, out = results
    stored = open_array(either.dataset / Dataset.waveforms("test"))
    clean = np.load(out / recipe.restore.degradations[0].name / Restored.clean)
    expected = either.codec.spectrogram(torch.from_numpy(decode_waveform(np.array(stored[[0, len(stored) - 1]]))))
    torch.testing.assert_close(torch.from_numpy(clean), expected, rtol=1e-4, atol=1e-5)


def test_previews_are_decoded_side_by_side(either: Made, results: tuple[Recipe, Path]) -> None:
    recipe, out = results
    folder = out / recipe.restore.degradations[0].name
    examples = open_array(folder / Restored.examples)
    assert examples.dtype == np.int16
    assert examples.shape == (2, 4, either.audio.window_samples)
    for column, name in enumerate((Restored.clean, Restored.observed, Restored.baseline, Restored.restored)):
        features = torch.tensor(open_array(folder / name))
        expected = either.codec.decode(either.codec.standardize(features))
        assert np.array_equal(examples[:, column], expected)


def test_the_page_plays_them_and_needs_nothing_else(results: tuple[Recipe, Path]) -> None:
    recipe, out = results
    page = restorations_page(recipe, out)
    assert page.count("data:audio/wav;base64,") == len(recipe.restore.degradations) * 2 * 4
    assert "://" not in page
    assert all(degradation.name in page for degradation in recipe.restore.degradations)


def test_a_repeat_does_nothing_and_another_model_is_refused(
    either: Made, results: tuple[Recipe, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = results
    before = folder_hash(out, leave_out=())
    restore.run(recipe, dataset=either.dataset, model=either.model, out=out, device=CPU, batch_size=1)
    assert "already restored" in capsys.readouterr().err
    assert folder_hash(out, leave_out=()) == before
    other = recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": 5})})
    with pytest.raises(ArtifactError, match="made with other settings"):
        restore.run(other, dataset=either.dataset, model=either.model, out=tmp_path / "x", device=CPU, batch_size=1)


def test_scores_say_how_near_each_came(either: Made, results: tuple[Recipe, Path]) -> None:
    recipe, out = results
    scores = measure_restorations(recipe, out)
    is_complex = isinstance(either.audio.representation, ComplexSpectrogram)
    assert set(scores) == {degradation.name for degradation in recipe.restore.degradations}
    for found in scores.values():
        assert set(found) == ({"lsd", "si_sdr"} if is_complex else {"lsd"})
    band = scores["missing_band"]["lsd"]
    assert band.observed > band.baseline > 0, "silence is further from the clean band than a straight line"


def test_a_perfect_restoration_has_no_distance(either: Made, results: tuple[Recipe, Path], tmp_path: Path) -> None:
    recipe, out = results
    for degradation in recipe.restore.degradations:
        (tmp_path / degradation.name).mkdir()
        for name in (Restored.clean, Restored.observed, Restored.baseline, Restored.mask):
            (tmp_path / degradation.name / name).write_bytes((out / degradation.name / name).read_bytes())
        (tmp_path / degradation.name / Restored.restored).write_bytes(
            (out / degradation.name / Restored.clean).read_bytes()
        )
    for found in measure_restorations(recipe, tmp_path).values():
        assert found["lsd"].restored == 0
        assert found["lsd"].observed > 0
        if "si_sdr" in found:
            assert found["si_sdr"].restored == 100
            assert found["si_sdr"].observed < 100
