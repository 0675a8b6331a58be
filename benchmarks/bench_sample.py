"""Sampling in linnet and in diffusers: DPM-Solver++(2M), 20 steps, the same layers (peers.py), the same precision.

python benchmarks/bench_sample.py [--device cuda] [--networks compact,guided,dit] [--set KEY=VALUE] [--json FILE]
"""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler

from linnet.inference.diffusion_model import DiffusionModel
from linnet.modalities.statistics import neutral_statistics
from linnet.models.build import build_network
from linnet.models.device import to_device
from linnet.models.precision import autocast, resolve_precision
from linnet.recipe import ClassLabel, DPMSolver, TrainingRecipe
from networks import add_recipe_options, benchmark_recipe
from peers import build_peer
from timing import arguments, compare, write_json

STEPS = 20


def main() -> None:
    """Compare all networks that are asked for."""
    parser = arguments(__doc__)
    add_recipe_options(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=0, help="examples a batch; 0 for 8 on a CPU and 256 on a GPU")
    options = parser.parse_args()
    device = torch.device(options.device)
    is_gpu = device.type == "cuda"
    count = options.count or (256 if is_gpu else 8)
    for name in options.networks.split(","):
        recipe = benchmark_recipe(name, on_gpu=is_gpu, precision=options.precision, overrides=options.set)
        torch.manual_seed(0)
        compare(
            f"sampling, {name}, {STEPS} steps, {count} examples of {recipe.data.shape[1]} x {recipe.data.shape[2]}, "
            f"{resolve_precision(recipe.train.precision, device)}",
            {
                "diffusers": _diffusers(recipe, device, count),
                "linnet": linnet_sampling(recipe, device, count=count, steps=STEPS),
            },
            units=count,
            unit="examples",
            rounds=options.rounds,
            device=device,
        )
        write_json(options.json)


def linnet_sampling(recipe: TrainingRecipe, device: torch.device, *, count: int, steps: int) -> Callable[[], object]:
    """Makes `count` examples, of class 0 where the recipe has classes, and decodes them."""
    network = to_device(build_network(recipe), device)
    model = DiffusionModel.of(network, recipe, neutral_statistics(recipe.data), device)
    sampler = DPMSolver(kind="dpm_solver_pp_2m", num_steps=steps, spacing="trailing")
    conditions = [0] * count if isinstance(recipe.conditioning, ClassLabel) else None

    def sample() -> object:
        x = model.sample(
            sampler,
            seed=0,
            indices=list(range(count)),
            conditions=conditions,
            guidance_scale=1.0,
            clip_x0=False,
            precision=recipe.train.precision,
        )
        return model.codec.decode(x)

    return sample


def _diffusers(recipe: TrainingRecipe, device: torch.device, count: int) -> Callable[[], object]:
    network = build_peer(recipe).to(device).eval()
    precision = resolve_precision(recipe.train.precision, device)
    labels = torch.zeros(count, dtype=torch.int64, device=device)

    @torch.no_grad()
    def sample() -> object:
        scheduler: Any = DPMSolverMultistepScheduler(  # type: ignore[no-untyped-call]
            beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", timestep_spacing="trailing"
        )
        scheduler.set_timesteps(STEPS, device=device)
        x = torch.randn(count, *recipe.data.shape, device=device)
        for t in scheduler.timesteps:
            with autocast(device, precision):
                output = network(x, t.expand(count), labels)
            x = scheduler.step(output.float(), t, x).prev_sample
        return ((x / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()

    return sample


if __name__ == "__main__":
    main()
