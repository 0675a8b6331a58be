"""The networks that are compared: settings of recipes/birds.toml by name, smaller ones for a CPU."""

import argparse
from pathlib import Path

from linnet.recipe import TrainingRecipe
from linnet.recipe.load import load_recipe

ROOT = Path(__file__).parents[1]


def _guided(channels: int) -> str:
    return (
        f"model={{kind='unet', channels={channels}, channel_multipliers=[1, 2, 3, 4], blocks_per_level=1, "
        "attention_heads_by_level=[0, 0, 4, 4], middle_attention_heads=4, norm_groups=32, "
        "timestep_injection='scale_shift', resampling='biggan', frequency_layer={kind='none'}, dropout=0.0}"
    )


def _dit(width: int, blocks: int, heads: int) -> tuple[str, str]:
    patches = "patch_size=4, patch_overlap=0"
    model = f"{patches}, width={width}, num_blocks={blocks}, num_heads={heads}, mlp_ratio=4, dropout=0.0"
    return f"model={{kind='dit', {model}}}", "conditioning={kind='class_label', num_classes=200, dropout=0.1}"


NETWORKS = {  # (CPU, GPU); the compact U-Net on a GPU is the recipe's own
    "compact": (("train.batch_size=8", "model.stem_channels=32", "model.widths=[32, 64, 128, 256]"), ()),
    "guided": (("train.batch_size=4", _guided(64)), ("train.batch_size=32", _guided(128))),
    "dit": (("train.batch_size=16", *_dit(128, 4, 4)), ("train.batch_size=64", *_dit(384, 12, 6))),
}


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """Where networks are compared, which, and what is changed in their recipe."""
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--networks", default=",".join(NETWORKS), help="of these, separated by commas")
    parser.add_argument("--precision", default="auto", help="fp32, bf16, fp16 or auto")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe; repeatable")


def benchmark_recipe(name: str, *, on_gpu: bool, precision: str, overrides: list[str]) -> TrainingRecipe:
    """The training sections for one of NETWORKS at 64 x 64 pixels."""
    settings = (*NETWORKS[name][on_gpu], f"train.precision={precision}", *overrides)
    return load_recipe(ROOT / "recipes" / "birds.toml", settings).training()
