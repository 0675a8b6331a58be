"""A training step of the same network (Ho et al.'s 35,746,307-parameter U-Net) in linnet and in diffusers.

The baseline is diffusers' UNet2DModel in the steps of its unconditional training example: bf16 autocast, AdamW,
gradient clipping, EMAModel. Both see the same batch shape on the same threads.

    python benchmarks/bench_train_step.py
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from numpy.typing import NDArray

from linnet.modalities.statistics import neutral_statistics
from linnet.models.build import build_network
from linnet.models.device import to_device
from linnet.recipe.load import load_recipe
from linnet.training.checkpoint import CheckpointStore
from linnet.training.distributed import DistributedContext
from linnet.training.loop import new_state, train_step
from linnet.training.loss import DiffusionLoss
from timing import compare

BATCH, SIZE, ROUNDS = 8, 32, 7
ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")


def main() -> None:
    """Print both rates."""
    images = np.random.default_rng(0).integers(0, 256, (64, SIZE, SIZE, 3), dtype=np.uint8)
    compare(
        f"training step, 35.7 M parameter U-Net, {SIZE} x {SIZE}, batch {BATCH}, bf16",
        {"diffusers (UNet2DModel, EMAModel)": _diffusers_step(images), "linnet": _linnet_step(images)},
        units=BATCH,
        unit="examples",
        rounds=ROUNDS,
    )


def _linnet_step(images: NDArray[np.uint8]) -> Callable[[], object]:
    overrides = (f"data.image_size_pixels={SIZE}", f"train.batch_size={BATCH}")
    recipe = load_recipe(ROOT / "recipes" / "birds-baseline.toml", overrides).training()
    state = new_state(to_device(build_network(recipe), CPU), recipe.train, DistributedContext.single_process(CPU))
    statistics = neutral_statistics(recipe.data)
    labels = np.zeros(len(images), dtype=np.int64)
    loss = DiffusionLoss(recipe, statistics, images, labels, state.distributed, start_step=0)
    checkpoints = CheckpointStore(Path(tempfile.mkdtemp()), every_seconds=1e9)
    state.network.train()
    return lambda: train_step(state, recipe.train, loss, checkpoints)


def _diffusers_step(images: NDArray[np.uint8]) -> Callable[[], object]:
    blocks = ("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D")
    network: Any = UNet2DModel(  # type: ignore[no-untyped-call]
        sample_size=SIZE,
        layers_per_block=2,
        block_out_channels=(128, 256, 256, 256),
        down_block_types=blocks,
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        attention_head_dim=64,
        norm_num_groups=8,
    )
    network.train()
    print(f"diffusers: {sum(p.numel() for p in network.parameters()):,} parameters")
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    ema = EMAModel(network.parameters(), decay=0.999)
    scheduler: Any = DDPMScheduler(num_train_timesteps=1000)  # type: ignore[no-untyped-call]
    normalized = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1

    def step() -> None:
        clean = normalized[torch.randperm(len(normalized))[:BATCH]]
        noise = torch.randn_like(clean)
        timesteps = torch.randint(0, 1000, (BATCH,))
        noisy = scheduler.add_noise(clean, noise, timesteps)
        with torch.autocast("cpu", torch.bfloat16):
            output = network(noisy, timesteps).sample
        loss = torch.nn.functional.mse_loss(output.float(), noise)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.step(network.parameters())

    return step


if __name__ == "__main__":
    main()
