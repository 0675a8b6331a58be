"""A training step in linnet and in diffusers: compact U-Net, guided U-Net, Diffusion Transformer.

The baseline is the loop of diffusers' unconditional training example (autocast, AdamW, gradient clipping, EMAModel, the
loss logged every step) with a network of the same layers from diffusers (peers.py), its examples already normalised and
on the device. linnet's step is the one that `linnet train` takes: it also reads, encodes and flips its examples.

    python benchmarks/bench_train_step.py [--device cuda] [--networks compact,guided,dit] [--set KEY=VALUE]
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from diffusers.training_utils import EMAModel

from linnet.models.precision import autocast, resolve_precision
from linnet.recipe import TrainingRecipe
from linnet.training.distributed import DistributedContext
from linnet.training.execution import Execution, choose_execution
from linnet.training.rehearsal import rehearse
from linnet.training.step import TrainStep
from networks import add_recipe_options, benchmark_recipe
from peers import build_peer
from timing import arguments, compare, write_json

NUM_EXAMPLES = 256


def main() -> None:
    """Compare all networks that are asked for."""
    parser = arguments(__doc__)
    add_recipe_options(parser)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=0, help="a round; 0 for 1 on a CPU and 20 on a GPU")
    parser.add_argument("--compile", choices=["auto", "never", "always"], default="auto")
    options = parser.parse_args()
    device = torch.device(options.device)
    is_gpu = device.type == "cuda"
    steps = options.steps or (20 if is_gpu else 1)
    for name in options.networks.split(","):
        recipe = benchmark_recipe(name, on_gpu=is_gpu, precision=options.precision, overrides=options.set)
        torch.manual_seed(0)
        execution = choose_execution(recipe.train.num_steps, DistributedContext.single_process(device))
        if options.compile != "auto":
            execution = Execution(compiled=options.compile == "always", graphed=execution.graphed)
        peer, ours = _diffusers_step(recipe, device), _linnet_step(recipe, device, execution)
        section = recipe.train
        compare(
            f"training step, {name}, {recipe.data.shape[1]} x {recipe.data.shape[2]}, batch {section.batch_size}, "
            f"{resolve_precision(section.precision, device)}, {execution}",
            {"diffusers": _repeated(peer, steps), "linnet": _repeated(ours, steps)},
            units=section.batch_size * steps,
            unit="examples",
            rounds=options.rounds,
            device=device,
            warmups=3,
        )
        write_json(options.json)


def _repeated(step: Callable[[], object], count: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(count):
            step()

    return run


def _images(recipe: TrainingRecipe) -> Any:
    channels, height, width = recipe.data.shape
    return np.random.default_rng(0).integers(0, 256, (NUM_EXAMPLES, height, width, channels), dtype=np.uint8)


def _linnet_step(recipe: TrainingRecipe, device: torch.device, execution: Execution) -> TrainStep:
    step = rehearse(recipe, DistributedContext.single_process(device), execution)
    print(f"linnet: {sum(p.numel() for p in step.state.network.parameters()):,} parameters")
    return step


def _diffusers_step(recipe: TrainingRecipe, device: torch.device) -> Callable[[], object]:
    section, batch = recipe.train, recipe.train.batch_size
    network = build_peer(recipe).to(device).train()
    print(f"diffusers: {sum(p.numel() for p in network.parameters()):,} parameters")
    optimizer = torch.optim.AdamW(network.parameters(), lr=section.learning_rate, weight_decay=1e-4)
    ema = EMAModel(network.parameters(), decay=section.ema_decay, use_ema_warmup=True)
    scheduler: Any = DDPMScheduler(num_train_timesteps=1000)  # type: ignore[no-untyped-call]
    normalized = (torch.from_numpy(_images(recipe)).permute(0, 3, 1, 2).float() / 127.5 - 1).to(device)
    labels = torch.zeros(batch, dtype=torch.int64, device=device)

    def step() -> float:
        clean = normalized[torch.randperm(len(normalized), device=device)[:batch]]
        noise = torch.randn_like(clean)
        timesteps = torch.randint(0, 1000, (batch,), device=device)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        with autocast(device, resolve_precision(section.precision, device)):
            output = network(noisy, timesteps, labels)
        loss = F.mse_loss(output.float(), noise)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), section.max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad()
        ema.step(network.parameters())
        return float(loss.detach().item())  # its example logs every step

    return step


if __name__ == "__main__":
    main()
