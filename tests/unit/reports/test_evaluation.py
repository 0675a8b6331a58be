"""The page of evaluate says what was measured, against which split, and what it is not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linnet.artifacts import Report
from linnet.recipe import Recipe
from linnet.reports.evaluation import caveat, write_report
from support.tiny import tiny_audio_recipe, tiny_recipe

NO_WEIGHTS = "These distances use descriptors that need no downloaded weights"
OTHER_WEIGHTS = "These distances use a network whose weights are not the published ones"
BOTH = f"{NO_WEIGHTS} and a network whose weights are not the published ones"
NOT_FID, NOT_FAD = (f". They are not {names} and do not compare with them." for names in ("FID or KID", "FAD or KAD"))


def with_features(recipe: Recipe, *features: str) -> Recipe:
    return recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"features": features})})


@pytest.mark.parametrize(
    ("features", "scores", "said"),
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
def test_distances_without_a_known_name_are_not_taken_for_those_that_have_one(
    features: tuple[str, ...], scores: tuple[str, ...], said: str
) -> None:
    is_audio = {"log_mel", "vggish", "scripted"} & set(features)
    recipe = tiny_audio_recipe() if is_audio else tiny_recipe()
    assert caveat(with_features(recipe, *features), scores) == said


@pytest.mark.parametrize(("split", "other"), [("test", "train"), ("train", "test")])
@pytest.mark.parametrize("kind", ["images", "audio"])
def test_the_page_names_the_splits_that_were_compared(tmp_path: Path, kind: str, split: str, other: str) -> None:
    metrics: dict[str, Any] = {
        "scores": {"frechet_texture": 1.0},
        "intervals": {"frechet_texture": {"low": 0.5, "high": 1.5}},
        "context": {"frechet_texture": {"untrained": 3.0, "noise": 4.0, "real": 0.25}},
        "protocols": {"frechet_texture": "p"},
        "memory": {"sample_median": 1.0, "real_median": 2.0},
        "restoration": {},
    }
    override = f"evaluate.reference_split={split}"
    recipe = tiny_recipe(override) if kind == "images" else tiny_audio_recipe(override)
    shape = (4, 16, 16, 3) if kind == "images" else (4, 240)
    examples = np.zeros(shape, dtype=np.uint8 if kind == "images" else np.int16)
    sets = dict.fromkeys(("model", "untrained", "noise", "real", "reference"), examples)
    write_report(tmp_path, recipe, metrics, sets, [(examples[0], examples[1])])
    page = " ".join((tmp_path / Report.page).read_text(encoding="utf-8").split())
    assert f"Distances to real {kind} of the {split} split" in page
    assert f'"real" is the {other} split measured the same way' in page
    assert f"4 real {kind if kind == 'images' else 'windows of audio'} of the {split} split." in page
