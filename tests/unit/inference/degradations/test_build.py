"""All degradations: of the shipped recipes, of files, and what a new one has to say."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from linnet.inference.degradations import AnyDegradation, DegradationProcess, RestorationInput
from linnet.inference.inverse_problem import InverseProblem
from linnet.inference.restoration import observe
from linnet.modalities.audio_codec import AudioCodec
from linnet.recipe import Audio, DegradationSection, Shape
from linnet.recipe.load import load_recipe
from linnet.recipe.restore import (
    BandwidthExtension,
    BlindDereverberation,
    Denoise,
    InpaintBins,
    InpaintFrames,
    InpaintPixels,
    KnownReverb,
    SuperResolution,
    degradation_classes,
)
from support.degradations import AUDIO, CPU, DATA, IMAGES, problem_of, process_of, statistics_of

RECIPES = sorted((Path(__file__).parents[4] / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_degradation_degrades_and_is_undone_where_it_can_be(path: Path) -> None:
    """All shapes fit; what is observed without noise comes back, and noise is as loud as the solver takes it to be.

    The mask is where nothing comes back.
    """
    recipe = load_recipe(path)
    shape = recipe.data.shape
    codec = AudioCodec(recipe.data, statistics_of(shape[1]), CPU) if isinstance(recipe.data, Audio) else IMAGES
    clean = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    for degradation in recipe.restore.degradations:
        problem = problem_of(degradation, codec, shape)
        quiet = problem.operator.forward(clean)
        noise = observe(problem, clean, seed=0) - quiet
        if degradation.noise_std == 0:
            assert not noise.any(), degradation.name
        else:
            drawn = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
            white = problem.whitened(quiet + noise, drawn)
            scaled = (white - quiet) / problem.noise_std
            assert float(scaled[..., 4:-4].double().std()) == pytest.approx(1, abs=0.05), degradation.name
        assert not bool(problem.mask.all()), degradation.name
        back = problem.operator.pseudo_inverse(quiet)
        assert torch.equal(problem.mask.expand_as(clean), back == 0), degradation.name
        torch.testing.assert_close(problem.operator.forward(back), quiet, rtol=1e-4, atol=1e-4, msg=degradation.name)
        observed = (problem.operator.singular_values(tuple(clean.shape)) > 0).expand_as(clean)
        known, found = (problem.operator.to_spectral(x)[observed] for x in (clean, back))
        torch.testing.assert_close(found, known, rtol=0, atol=1e-2, msg=degradation.name)
        assert not torch.equal(quiet, clean), f"{degradation.name} does nothing"


# --- files of one's own -----------------------------------------------------------------------------------------------

AUDIO_DEGRADATIONS: list[DegradationSection] = [
    Denoise(name="noisy", kind="denoise", noise_std=0.01),
    InpaintBins(name="band", kind="inpaint_bins", low_hz=1000.0, high_hz=1500.0, noise_std=0.01),
    InpaintFrames(name="gap", kind="inpaint_frames", start_seconds=0.04, gap_seconds=0.01, noise_std=0.0),
    BandwidthExtension(name="narrow", kind="bandwidth_extension", cutoff_hz=3000.0, noise_std=0.0),
    KnownReverb(name="room", kind="known_reverb", reverberation_seconds=0.02, noise_std=0.01),
    BlindDereverberation(
        name="blind", kind="blind_dereverberation", reverberation_seconds=0.02, filter_frames=4, noise_std=0.0
    ),
]
IMAGE_DEGRADATIONS: list[DegradationSection] = [
    Denoise(name="noisy", kind="denoise", noise_std=0.01),
    InpaintPixels(name="holes", kind="inpaint_pixels", pattern="random", missing_fraction=0.5, noise_std=0.01),
    SuperResolution(name="small", kind="super_resolution", factor=2, noise_std=0.01),
]


@pytest.fixture
def given(tmp_path: Path) -> RestorationInput:
    """What may go with a file: a room of a click and an echo, and a mask of some pixels."""
    import numpy as np
    import soundfile
    from PIL import Image

    click, mask = np.zeros(64), np.zeros((16, 16), dtype=np.uint8)
    click[0], click[48], mask[2:5, 3:9] = 1, 0.5, 255
    soundfile.write(tmp_path / "room.wav", click, DATA.sample_rate_hz, subtype="FLOAT")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return RestorationInput(tmp_path / "mine", tmp_path / "room.wav", tmp_path / "mask.png")


def test_every_kind_is_tried_on_files() -> None:
    assert {known.kind for known in (*AUDIO_DEGRADATIONS, *IMAGE_DEGRADATIONS)} == set(degradation_classes())


@pytest.mark.parametrize(
    ("degradation", "is_audio"),
    [(known, True) for known in AUDIO_DEGRADATIONS] + [(known, False) for known in IMAGE_DEGRADATIONS],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_a_file_is_not_degraded_again(degradation: DegradationSection, is_audio: bool, given: RestorationInput) -> None:
    """A file that looks like an observation is observed as that, whatever it has where nothing is known."""
    process = process_of(degradation, AUDIO if is_audio else IMAGES)
    shape = DATA.shape if is_audio else (3, 16, 16)
    restored = process.restored_shape(shape)
    problem = process.pose_file(restored, given)
    rng = torch.Generator().manual_seed(0)
    y = problem.operator.forward(torch.randn(1, *restored, generator=rng))
    file = F.adaptive_avg_pool2d(process.as_example(problem, y), shape[1:])  # of the size of a file, if not of x
    file = torch.where(problem.mask, torch.randn(file.shape, generator=rng), file)
    observed = process.observe_file(problem, file)
    torch.testing.assert_close(observed / problem.row_scale, y / problem.row_scale, rtol=1e-5, atol=1e-5)
    assert not (observed * problem.mask).any()
    back = problem.operator.forward(problem.operator.pseudo_inverse(y))
    torch.testing.assert_close(back / problem.row_scale, y / problem.row_scale, rtol=1e-4, atol=1e-4)


class Forgetful(DegradationProcess[Denoise]):
    """A new degradation whose author forgot what is observed of a file."""

    def pose(self, shape: Shape) -> InverseProblem:
        return problem_of(self.section)

    def pose_file(self, shape: Shape, given: RestorationInput) -> InverseProblem:
        return self.pose(shape)

    def baseline(self, problem: InverseProblem, y: Tensor) -> Tensor:
        return y


def test_a_degradation_that_forgets_files_stops_the_program() -> None:
    broken: type[AnyDegradation] = Forgetful  # type: ignore[type-abstract]
    with pytest.raises(TypeError, match=r"abstract method '?observe_file"):
        broken(Denoise(name="noisy", kind="denoise", noise_std=0.01), AUDIO, 0, CPU)
