"""The train stage against an independent implementation in a few lines of plain torch.

It shares the network's layers with linnet and nothing else: schedule, batches, random numbers, loss, loss scaling,
clipping, optimizer and averaging are written out here. `make mutants` shows that it notices faults.
"""

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from linnet.models.build import build_network
from linnet.recipe import Recipe
from linnet.stages import preprocess
from support.tiny import tiny_raw_data, tiny_recipe
from support.training import train_on

TOLERANCE = {"fp32": 0.01, "bf16": 0.15, "fp16": 0.05}  # of what training changed: rounding grows from step to step
UNET = (
    "model={kind='unet', channels=16, channel_multipliers=[1, 2], blocks_per_level=1, "
    "attention_heads_by_level=[0, 1], middle_attention_heads=1, norm_groups=8, timestep_injection='shift', "
    "resampling='conv', frequency_layer={kind='none'}, dropout=0.0}"
)
COMPACT, BATCH_NORM = "model.stem_channels=8", "model.noise_injection=input"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    preprocess.run(tiny_recipe().data, raw=tiny_raw_data(folder / "raw"), out=folder / "dataset", workers=1)
    return folder / "dataset"


@pytest.mark.parametrize(
    ("model", "precision"),
    [(COMPACT, "fp32"), (COMPACT, "bf16"), (COMPACT, "fp16"), (UNET, "fp32"), (UNET, "bf16"), (BATCH_NORM, "fp32")],
    ids=["compact-fp32", "compact-bf16", "compact-fp16", "unet-fp32", "unet-bf16", "batch_norm-fp32"],
)
def test_the_stage_trains_what_a_few_lines_train(dataset: Path, tmp_path: Path, model: str, precision: str) -> None:
    decay = "cosine" if model == UNET else "none"
    length = 0.032 if precision == "fp16" else 0.096  # convolutions in fp16 are slow on CPUs
    recipe = tiny_recipe(
        f"train.duration_kexamples={length}",
        "train.seed=3",
        model,
        f"train.precision={precision}",
        "train.max_gradient_norm=0.5",
        f"train.learning_rate_decay={decay}",
    )
    out = tmp_path / "model"
    train_on(recipe, dataset, out)
    network, average, history = by_hand(recipe, dataset)
    start = build_network(recipe.training()).state_dict()
    for name, expected in (("model.safetensors", network), ("ema.safetensors", average)):
        found = load_file(out / name)
        assert found.keys() == expected.keys()
        for key in found:
            if not key.endswith("bias"):  # before a norm a bias has no gradient, and Adam makes steps of its noise
                off, change = distance(found[key], expected[key]), distance(expected[key], start[key])
                assert off <= TOLERANCE[recipe.train.precision] * change, f"{name} {key}: {off / change:.3f}"
    _, *lines = csv.reader((out / "history.csv").read_text().splitlines())
    rows = [[float(value) for value in line] for line in lines]
    assert len(rows) == len(history)
    for found_row, expected_row in zip(rows, history, strict=True):
        assert found_row == pytest.approx(expected_row, rel=TOLERANCE[recipe.train.precision] / 10)


def test_raw_and_averaged_weights_are_far_apart(dataset: Path, tmp_path: Path) -> None:
    """So that the test above tells them apart."""
    out = tmp_path / "model"
    train_on(tiny_recipe(), dataset, out)
    raw, average = load_file(out / "model.safetensors"), load_file(out / "ema.safetensors")
    assert max(float((raw[key] - average[key]).abs().max()) for key in raw) > 1e-3


def distance(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other.double()).norm())


def by_hand(recipe: Recipe, dataset: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], list[list[float]]]:
    """Weights, averaged weights, and rows of step, examples, loss, gradient norm and rate."""
    section = recipe.train
    images = np.load(dataset / "train_images.npy").astype(np.float32) / 255
    labels = torch.from_numpy(np.load(dataset / "train_labels.npy"))
    x = torch.from_numpy((images - images.mean((0, 1, 2))) / images.std((0, 1, 2))).permute(0, 3, 1, 2)
    network = build_network(recipe.training()).train()
    average = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=1.0, betas=(0.9, 0.99), weight_decay=0.01)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[section.precision]
    signal, noise_rate = cosine_rates(recipe.diffusion.schedule.num_timesteps)
    batches, history, sums = shuffled(len(x), section.batch_size, section.seed), [], np.zeros(3)
    loss_scale = 65536.0 if section.precision == "fp16" else 1.0
    for step in range(section.num_steps):
        rows = np.sort(next(batches))
        seed = int(np.random.SeedSequence([section.seed, step]).generate_state(1)[0])
        generator = torch.Generator().manual_seed(seed)
        flipped = torch.rand(4, 1, 1, 1, generator=generator) < 0.5
        clean = torch.where(flipped, x[rows].flip(3), x[rows])
        dropped = torch.rand(4, generator=generator) < 0.1
        condition = torch.where(dropped, 8, labels[rows])  # the ninth row of the table stands for no class
        t = torch.randint(50, (4,), generator=generator)
        noise = torch.empty(4, 3, 16, 16).normal_(generator=generator)
        a, s = signal[t].view(4, 1, 1, 1).float(), noise_rate[t].view(4, 1, 1, 1).float()
        level = t.float() if recipe.model.kind == "unet" else (noise_rate[t] ** 2).float()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            output = network(a * clean + s * noise, level, condition)
        loss = ((output.float() - (a * noise - s * clean)) ** 2).mean()
        network.zero_grad()
        (loss * loss_scale).backward()
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        norm = math.sqrt(sum(float((gradient.double() ** 2).sum()) for gradient in gradients)) / loss_scale
        sums += [float(loss.detach()), norm if math.isfinite(norm) else 0, 1]
        rate = 0.0015 * min(1, (step + 1) / 4)
        if section.learning_rate_decay == "cosine" and step >= 4:
            rate *= 0.5 * (1 + math.cos(math.pi * (step - 4) / 20))
        if math.isfinite(norm):
            for gradient in gradients:
                gradient.div_(loss_scale * max(1, norm / 0.5))
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
            decay = min(0.995, (1 + step) / (10 + step))
            for name, value in network.state_dict().items():
                if value.is_floating_point():
                    average[name] = decay * average[name] + (1 - decay) * value
                else:
                    average[name] = average[name]  # counters of batch norm are not averaged
        else:
            loss_scale /= 2
        if (step + 1) % 5 == 0 or step + 1 == section.num_steps:
            history.append([step + 1, 4 * (step + 1), sums[0] / sums[2], sums[1] / sums[2], rate])
            sums = np.zeros(3)
    return dict(network.state_dict()), average, history


def cosine_rates(count: int) -> tuple[Tensor, Tensor]:
    """Signal and noise rates of Nichol & Dhariwal's schedule (2021, eq. 17), float64 [count]."""
    f = [math.cos((t / count + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(count + 1)]
    bars = np.cumprod([1 - min(0.999, 1 - f[t + 1] / f[t]) for t in range(count)])
    return torch.from_numpy(np.sqrt(bars)), torch.from_numpy(np.sqrt(1 - bars))


def shuffled(size: int, batch_size: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Batches of one endless list: a permutation for each epoch."""
    epoch, left = 0, np.empty(0, dtype=np.int64)
    while True:
        while len(left) < batch_size:
            left = np.concatenate([left, np.random.default_rng([seed, epoch]).permutation(size)])
            epoch += 1
        yield left[:batch_size]
        left = left[batch_size:]
