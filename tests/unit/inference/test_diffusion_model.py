"""Samples of a model: their independence, ranges and guidance, against a sampler loop of our own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from linnet.artifacts import Model, write_provenance
from linnet.diffusion.samplers import PerSampleNoise, sample
from linnet.diffusion.schedule import build_schedule
from linnet.files import PROVENANCE, ArtifactError, write_json
from linnet.inference.batching import index_batches
from linnet.inference.diffusion_model import DiffusionModel, NoUnconditionalModeError
from linnet.modalities.image_codec import ImageCodec
from linnet.modalities.statistics import ImageStatistics
from linnet.models.build import build_network
from linnet.models.device import to_device
from linnet.recipe import DDIM, DDPM, DPMSolver, SamplerSection
from linnet.stages.table import SAMPLE, TRAIN
from support.statistics import image_statistics
from support.tiny import tiny_recipe

CPU = torch.device("cpu")
STATISTICS = image_statistics(
    mean=[0.48, 0.5, 0.43],
    std=[0.23, 0.22, 0.27],
    class_names=[f"class {number}" for number in range(8)],
    class_counts=[1] * 8,
)
STANDARD = ImageCodec.of(STATISTICS, CPU)
CLASSES = 8
SOLVER = DPMSolver(kind="dpm_solver_pp_2m", num_steps=4, spacing="trailing")
SAMPLERS: list[SamplerSection] = [
    SOLVER,
    DDIM(kind="ddim", num_steps=4, spacing="trailing", eta=0.5),
    DDPM(kind="ddpm", num_steps=4, spacing="trailing"),
]


def diffusion_model(*overrides: str, gain: float = 1.0) -> DiffusionModel:
    recipe = tiny_recipe(*overrides).training()
    network = to_device(build_network(recipe), CPU)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            scale = gain * parameter[0].numel() ** -0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return DiffusionModel.of(network, recipe, STATISTICS, CPU)


def sampled(one: DiffusionModel, indices: list[int], labels: list[int] | None, **changes: Any) -> Tensor:
    settings: dict[str, Any] = {"seed": 1, "guidance_scale": 1.0, "clip_x0": False, "precision": "fp32"}
    sampler = changes.pop("sampler", SOLVER)
    return one.sample(sampler, indices=indices, conditions=labels, **(settings | changes))


# --- pixels -----------------------------------------------------------------------------------------------------------


def all_values() -> Tensor:
    """uint8 [1, 16, 16, 3], each channel with all 256 values."""
    return torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).expand(-1, -1, -1, 3)


@pytest.mark.parametrize("statistics", [STATISTICS, image_statistics(mean=[0.0, 1.0, 0.99], std=[0.01, 0.5, 1.0])])
def test_all_256_values_survive_the_round_trip(statistics: ImageStatistics) -> None:
    codec = ImageCodec.of(statistics, CPU)
    encoded = codec.encode(all_values())
    assert encoded.dtype == torch.float32
    assert encoded.shape == (1, 3, 16, 16)
    assert np.array_equal(codec.decode(encoded), all_values().numpy())


def test_encoded_pixels_have_mean_0_and_deviation_1() -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 200, (4, 8, 8, 3), dtype=np.uint8))
    scaled = pixels.double() / 255
    mean, std = scaled.mean(dim=(0, 1, 2)), scaled.std(dim=(0, 1, 2), correction=0)
    statistics = image_statistics(mean=mean.tolist(), std=std.tolist())
    encoded = ImageCodec.of(statistics, CPU).encode(pixels).double()
    torch.testing.assert_close(encoded.mean(dim=(0, 2, 3)), torch.zeros(3).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(encoded.std(dim=(0, 2, 3), correction=0), torch.ones(3).double(), rtol=1e-6, atol=0)


def test_clip_and_decode_keep_to_real_pixels() -> None:
    extreme = torch.tensor([-100.0, 100.0]).reshape(2, 1, 1, 1).expand(-1, 3, 2, 2)
    expected = np.stack([np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)])
    assert np.array_equal(STANDARD.decode(extreme), expected)
    black_and_white = STANDARD.encode(torch.from_numpy(expected))
    torch.testing.assert_close(STANDARD.clip(extreme), black_and_white)
    torch.testing.assert_close(STANDARD.clip(black_and_white), black_and_white)


# --- sampling ---------------------------------------------------------------------------------------------------------


def by_hand(one: DiffusionModel, indices: list[int], output: Any) -> Tensor:
    """The sampler over `output(x, noise variance)`, with v turned into x_0 here."""
    schedule = build_schedule(one.recipe.diffusion.schedule)

    def predict(x: Tensor, timestep: int) -> Tensor:
        bar = float(schedule.at(torch.tensor(timestep)))
        result: Tensor = bar**0.5 * x - (1 - bar) ** 0.5 * output(x, torch.full((len(x),), 1 - bar))
        return result

    with torch.inference_mode():
        return sample(SOLVER, schedule, predict, PerSampleNoise(1, indices, (3, 16, 16), CPU))


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler.kind)
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_an_image_does_not_depend_on_its_batch(sampler: SamplerSection, scale: float) -> None:
    one, labels = diffusion_model(), [3, 1, 4, 1, 5]
    settings: dict[str, Any] = {"sampler": sampler, "guidance_scale": scale, "clip_x0": True}
    whole = sampled(one, list(range(5)), labels, **settings)
    pairs = [sampled(one, indices, [labels[n] for n in indices], **settings) for indices in index_batches(5, 2)]
    torch.testing.assert_close(torch.cat(pairs), whole, rtol=1e-4, atol=1e-4)
    lone = sampled(one, [3], [labels[3]], **settings)
    torch.testing.assert_close(lone[0], whole[3], rtol=1e-4, atol=1e-4)
    assert float((sampled(one, [3], [labels[3]], seed=2, **settings) - lone).abs().max()) > 0.1


def test_batch_statistics_do_not_enter_either() -> None:
    """The first form has batch norm: sampling must use its running averages."""
    one = diffusion_model("model.noise_injection=input")
    one.network.train()
    whole = sampled(one, [0, 1, 2], [0, 1, 2])
    torch.testing.assert_close(sampled(one, [2], [2])[0], whole[2], rtol=1e-4, atol=1e-4)


def test_guidance_is_ho_and_salimans() -> None:
    """Scale 1 is the class alone, 0 no class, 2.5 beyond the class; each against the network called directly."""
    one, indices, labels = diffusion_model(), [0, 1], torch.tensor([3, 6])
    net = one.network
    with_class = by_hand(one, indices, lambda x, level: net(x, level, labels))
    without = by_hand(one, indices, lambda x, level: net(x, level, None))
    beyond = by_hand(one, indices, lambda x, level: 2.5 * net(x, level, labels) - 1.5 * net(x, level, None))
    assert float((with_class - without).abs().max()) > 0.01
    for scale, expected in ((1.0, with_class), (0.0, without), (2.5, beyond)):
        found = sampled(one, indices, labels.tolist(), guidance_scale=scale)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sampled(one, indices, None), without, rtol=1e-4, atol=1e-4)


def test_an_unconditional_model_samples_without_labels() -> None:
    one = diffusion_model("conditioning={kind='none'}")
    net = one.network
    expected = by_hand(one, [4], lambda x, level: net(x, level, None))
    torch.testing.assert_close(sampled(one, [4], None), expected, rtol=1e-4, atol=1e-4)


def test_a_model_without_an_unconditional_mode_refuses_what_needs_it() -> None:
    one = diffusion_model("conditioning.dropout=0.0", "sample.guidance_scale=1.0", "restore.degradations=[]")
    with_class = by_hand(one, [0], lambda x, level: one.network(x, level, torch.tensor([3])))
    torch.testing.assert_close(sampled(one, [0], [3]), with_class, rtol=1e-4, atol=1e-4)
    for labels, scale in (([3], 2.0), ([3], 0.0), (None, 1.0)):
        with pytest.raises(
            NoUnconditionalModeError, match=r"dropout = 0, .* Give a prompt and guidance 1, or train with dropout"
        ):
            sampled(one, [0], labels, guidance_scale=scale)


def test_clipping_keeps_images_in_the_range_of_pixels() -> None:
    """The solver's last step returns its x_0, so the end shows whether predictions were clipped."""
    one = diffusion_model(gain=1.5)
    low, high = (STANDARD.encode(torch.full((1, 1, 1, 3), value, dtype=torch.uint8)) for value in (0, 255))
    free, clipped = (sampled(one, [0, 1], [0, 1], clip_x0=clip) for clip in (False, True))
    assert bool((free > high + 0.1).any())
    assert bool((free < low - 0.1).any())
    assert bool((clipped <= high + 1e-5).all())
    assert bool((clipped >= low - 1e-5).all())


# --- model folders ----------------------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder as train leaves it; raw weights all 0.25, averaged ones all 0.5."""
    recipe = tiny_recipe().training()
    folder = tmp_path / "model"
    folder.mkdir()
    for name, value in ((Model.weights, 0.25), (Model.ema_weights, 0.5)):
        state = build_network(recipe).state_dict()
        save_file({key: torch.full_like(tensor, value) for key, tensor in state.items()}, folder / name)
    (folder / Model.recipe).write_text(recipe.model_dump_json())
    write_json(folder / Model.statistics, STATISTICS.model_dump())
    write_provenance(folder, TRAIN, [recipe], {})
    return folder


def test_load_takes_the_weights_asked_for(model: Path) -> None:
    recipe = tiny_recipe().training()
    raw, ema, untrained = (DiffusionModel.load(model, weights=kind, device=CPU) for kind in ("raw", "ema", "untrained"))
    assert {float(p.max()) for p in raw.network.parameters()} == {0.25}
    assert {float(p.max()) for p in ema.network.parameters()} == {0.5}
    fresh: nn.Module = build_network(recipe)
    pairs = zip(fresh.parameters(), untrained.network.parameters(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
    assert raw.recipe == recipe
    assert isinstance(raw.codec, ImageCodec)
    assert raw.codec.mean.flatten().tolist() == pytest.approx(STATISTICS.mean)
    assert not raw.network.training
    assert not any(parameter.requires_grad for parameter in raw.network.parameters())


def test_load_of_nothing_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nothing.* is not there; run `linnet train` first"):
        DiffusionModel.load(tmp_path / "nothing", weights="ema", device=CPU)


@pytest.mark.parametrize("name", [PROVENANCE, Model.recipe, Model.statistics, Model.weights])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_load_names_the_damaged_file(model: Path, name: str, damage: str) -> None:
    path = model / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ArtifactError, match=rf"(?s){name}.*(linnet train|train the model again)"):
        DiffusionModel.load(model, weights="raw", device=CPU)


def test_load_refuses_weights_of_another_network(model: Path) -> None:
    save_file({"stem.weight": torch.zeros(1)}, model / Model.ema_weights)
    with pytest.raises(ArtifactError, match=rf"(?s){Model.ema_weights}: cannot be loaded .*train the model again"):
        DiffusionModel.load(model, weights="ema", device=CPU)


def test_load_refuses_the_folder_of_another_stage(model: Path) -> None:
    write_provenance(model, SAMPLE, [], {})
    with pytest.raises(ArtifactError, match="was made by `linnet sample`, not by `linnet train`"):
        DiffusionModel.load(model, weights="ema", device=CPU)
