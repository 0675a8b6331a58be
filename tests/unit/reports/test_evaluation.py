"""The page about an evaluation says what was measured, against which split, and what it is not."""

from pathlib import Path

import numpy as np
import pytest

from linnet.artifacts import Dataset, Report, Samples
from linnet.files import ArtifactError
from linnet.metrics.results import Comparison, Context, Metrics
from linnet.recipe import Recipe
from linnet.reports.evaluation import caveat, evaluation_page
from support.metrics import metrics_of
from support.tiny import tiny_audio_recipe, tiny_recipe

NO_WEIGHTS = "These distances use descriptors that need no downloaded weights"
OTHER_WEIGHTS = "These distances use a network whose weights are not the published ones"
BOTH = f"{NO_WEIGHTS} and a network whose weights are not the published ones"
NOT_FID, NOT_FAD = (f". They are not {names} and do not compare with them." for names in ("FID or KID", "FAD or KAD"))


def with_features(recipe: Recipe, *features: str) -> Recipe:
    return recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"features": features})})


@pytest.mark.parametrize(
    ("features", "scores", "expected"),
    [
        (("thumbnail", "texture"), ("frechet_thumbnail", "kernel_thumbnail"), NO_WEIGHTS + NOT_FID),
        (("inception",), ("fid", "kid"), ""),
        (("inception", "texture"), ("fid", "kid", "frechet_texture"), ""),
        (("inception",), ("frechet_inception_01234567",), OTHER_WEIGHTS + NOT_FID),
        (("log_mel",), ("frechet_log_mel", "kernel_log_mel"), NO_WEIGHTS + NOT_FAD),
        (("vggish", "log_mel"), ("fad", "kad", "frechet_log_mel"), ""),
        (("scripted",), ("frechet_scripted_01234567",), OTHER_WEIGHTS + NOT_FAD),
        (("log_mel", "vggish"), ("frechet_log_mel", "frechet_vggish_01234567"), BOTH + NOT_FAD),
    ],
)
def test_distances_without_a_published_name_are_not_taken_for_those_that_have_one(
    features: tuple[str, ...], scores: tuple[str, ...], expected: str
) -> None:
    is_audio = {"log_mel", "vggish", "scripted"} & set(features)
    recipe = tiny_audio_recipe() if is_audio else tiny_recipe()
    assert caveat(with_features(recipe, *features), scores) == expected


def page_of(folder: Path, recipe: Recipe) -> str:
    """The page of four samples and four real examples, the nearest neighbours of two of them, and one restoration."""
    shape, dtype = ((4, 240), np.int16) if recipe.data.kind == "audio" else ((4, 16, 16, 3), np.uint8)
    examples = np.zeros(shape, dtype=dtype)
    dataset, samples, report = (folder / name for name in ("dataset", "samples", "report"))
    for path in (dataset, samples, report):
        path.mkdir()
    for split in ("train", "test"):
        np.save(dataset / Dataset.examples(recipe.data, split), examples)
    np.save(samples / Samples.examples, examples)
    np.save(report / Report.untrained, examples[:2])
    np.save(report / Report.neighbours, np.stack([examples[:2], examples[2:]], axis=1))
    restoration = {"noisy": {"psnr": Comparison(restored=31.234, baseline=20.0, observed=10.0)}}
    metrics_of({"frechet_texture": 1.0}, restoration=restoration).save(report)
    return " ".join(evaluation_page(recipe, dataset=dataset, samples=samples, report=report).split())


@pytest.mark.parametrize(("split", "other"), [("test", "train"), ("train", "test")])
@pytest.mark.parametrize("kind", ["images", "audio"])
def test_the_page_names_the_splits_that_were_compared(tmp_path: Path, kind: str, split: str, other: str) -> None:
    override = f"evaluate.reference_split={split}"
    page = page_of(tmp_path, tiny_recipe(override) if kind == "images" else tiny_audio_recipe(override))
    assert f"Distances to real {kind} of the {split} split" in page
    assert f'"real" is the {other} split measured the same way' in page
    assert f"4 samples, 4 real {kind if kind == 'images' else 'windows of audio'} of the {split} split." in page


def test_the_page_shows_scores_context_and_restorations(tmp_path: Path) -> None:
    page = page_of(tmp_path, tiny_recipe())
    assert '<td class="number">1 ± 0.5</td><td class="number">3</td><td class="number">4</td>' in page
    assert "<td>noisy</td><td><code>psnr</code></td>" in page
    assert '<td class="number">10</td><td class="number">20</td><td class="number">31.2</td>' in page
    assert "nearest training image is 1.000, that of a held-out real image 2.000" in page
    assert page.count('src="data:image/png;base64,') == 4


def test_audio_is_played_pair_by_pair(tmp_path: Path) -> None:
    page = page_of(tmp_path, tiny_audio_recipe())
    assert page.count("<audio") == 4 + 4 + 2 + 4  # samples, real, untrained, two pairs
    assert page.count("its nearest in training") == 2
    assert "://" not in page


def test_a_report_of_another_version_says_what_to_run(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    page_of(tmp_path, recipe)
    (tmp_path / "report" / Report.neighbours).unlink()
    with pytest.raises(ArtifactError, match=r"neighbours\.npy: cannot be used"):
        evaluation_page(recipe, dataset=tmp_path / "dataset", samples=tmp_path / "samples", report=tmp_path / "report")


def test_the_page_says_where_real_examples_are_no_nearer_than_noise(tmp_path: Path) -> None:
    """Two songs, one held out: 157 against 143."""
    recipe = tiny_recipe()
    assert "cannot tell real examples" not in page_of(tmp_path, recipe)
    report = tmp_path / "report"
    metrics = Metrics.load(report)
    context = {"frechet_texture": Context(untrained=150.0, noise=143.0, real=157.0)}
    metrics.model_copy(update={"context": context}).save(report)
    page = evaluation_page(recipe, dataset=tmp_path / "dataset", samples=tmp_path / "samples", report=report)
    assert "<strong>frechet_texture cannot tell real examples from pure noise here: real examples of the other" in page
    assert "have 157, pure noise has 143." in page
