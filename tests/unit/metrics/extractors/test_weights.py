"""Files of weights for audio: where they are looked for, and what is refused."""

from pathlib import Path

import pytest
import torch

from linnet.metrics.extractors.build import build_extractor
from linnet.metrics.extractors.vggish import PUBLISHED, VGGish
from linnet.metrics.extractors.weights import Weights, WeightsError
from linnet.recipe.evaluate import LearnedFeatures
from support.audio_section import AUDIO
from support.extractors import CPU, Moments, found, script, sha256

OPTION = r"--embedding-weights \(LINNET_EMBEDDING_WEIGHTS\)"


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    nowhere = tmp_path / "nowhere.pth"
    with pytest.raises(WeightsError, match=rf"nowhere\.pth: no such file; give VGGish's weights .* with {OPTION}"):
        found("vggish", nowhere)
    with pytest.raises(WeightsError, match=rf"nowhere\.pth: no such file; give a TorchScript file with {OPTION}"):
        found("scripted", nowhere)
    with pytest.raises(WeightsError, match=rf"'scripted' .* TorchScript file .* {OPTION}, or take 'scripted' out"):
        found("scripted", None)
    with pytest.raises(WeightsError) as caught:
        found("vggish", None)
    location = tmp_path / "hub" / "checkpoints" / PUBLISHED.file
    for part in (PUBLISHED.url, f"at {location},", "--embedding-weights", "take 'vggish' out of [evaluate] features"):
        assert part in str(caught.value)
    location.parent.mkdir(parents=True)
    location.write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"vggish-10086976\.pth: sha256 is .*, expected 10086976\.\.\.; .*-sha256"):
        found("vggish", None)
    assert found("vggish", None, sha256(location)) == Weights(location, sha256(location), is_published=False)
    with pytest.raises(WeightsError, match="'scripted' features need a TorchScript file"):
        found("scripted", None)


@pytest.mark.parametrize("features", ["vggish", "scripted"])
def test_another_hash_is_refused(features: LearnedFeatures, tmp_path: Path) -> None:
    path = script(Moments(), tmp_path / "moments.pt")
    with pytest.raises(WeightsError, match=rf"moments\.pt: sha256 is {sha256(path)}, expected abc; fetch .* again"):
        found(features, path, "abc")


class Surprise:
    """Unpickled by an unguarded torch.load, it would leave a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.mark,)


def refusal(features: LearnedFeatures, path: Path) -> str:
    weights = found(features, path, sha256(path))
    with pytest.raises(WeightsError) as caught:
        build_extractor(features, AUDIO, weights, CPU)
    assert "--" not in str(caught.value)  # the hash is right, no option will help
    return str(caught.value).removeprefix(f"{path}: not a ").partition(";")[0]


def test_a_file_of_something_else_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    mark, path = tmp_path / "it ran", tmp_path / "odd.pth"
    torch.save(Surprise(mark), path)
    strange = "state dict of VGGish: it holds something else than tensors, or is damaged"
    assert refusal("vggish", path) == strange
    assert refusal("scripted", path) == "TorchScript file, or a damaged one"
    for text in (b"", b"PK", b"hello"):
        path.write_bytes(text)
        assert refusal("vggish", path) == strange
        assert refusal("scripted", path) == "TorchScript file, or a damaged one"
    script(Moments(), path)
    assert refusal("vggish", path) == strange
    assert not mark.exists()


def test_a_state_dict_of_something_else_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "odd.pth"
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in VGGish().state_dict().items()}
    whole = {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}
    wrong = torch.zeros(64, 3, 3, 3)
    for content, complaint in (
        (torch.ones(3), "it holds a Tensor"),
        ({1: torch.ones(3)}, "features.0.weight is not in it"),
        ({"epoch": 3, "state_dict": whole}, "features.0.weight is not in it"),
        (whole | {"features.0.weight": 5}, "features.0.weight is not in it"),
        (whole | {"features.0.weight": wrong}, "features.0.weight has shape (64, 3, 3, 3) instead of (64, 1, 3, 3)"),
        (whole | {"pproc.pca_means": torch.ones(3)}, "pproc.pca_means is also in it"),
    ):
        torch.save(content, path)
        assert refusal("vggish", path) == f"state dict of VGGish: {complaint}"
