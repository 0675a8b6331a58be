"""The page about a training: how the loss fell, how samples came to be, and what it took."""

import csv
from pathlib import Path

from linnet.artifacts import Model
from linnet.files import ArtifactError, read_json
from linnet.reports import html

MAX_GRIDS = 6
COST_FACTS = {  # of model-cost.json, as people read them
    "examples_per_second": "{:,.4g} examples/s",
    "tflops_per_second": "{:.2g} TFLOP/s",
    "peak_share": "{:.0%} of the peak that large matrix products reach on this machine",
    "data_wait_share": "{:.0%} of the time waiting for data",
}


def training_page(name: str, model: Path) -> str:
    """The page of a model folder, and of the costs beside it where they are known.

    Raises:
        ArtifactError: the folder is not whole.
    """
    try:
        with (model / Model.history).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        examples, losses, norms = (
            [float(row[column]) for row in rows] for column in ("examples", "loss", "gradient_norm")
        )
        grids = sorted((model / Model.grids).iterdir())
    except (OSError, KeyError, ValueError):
        raise ArtifactError(f"{model} has no readable history or grids; run `linnet train` again") from None
    last = len(grids) - 1
    shown = sorted({round(number * last / max(1, MAX_GRIDS - 1)) for number in range(MAX_GRIDS)} if grids else ())
    return html.render(
        "training.html",
        title=f"Training of {name}",
        lead=f"{int(examples[-1]):,} examples in {int(rows[-1]['step']):,} steps, last loss {losses[-1]:.4g}.",
        figures=[
            html.line_svg(examples, losses, title="loss", unit="examples"),
            html.line_svg(examples, norms, title="gradient norm", unit="examples"),
        ],
        grids=[
            {
                "caption": f"after {int(grids[number].stem.rpartition('_')[2]):,} steps",
                "image": html.inline_file(grids[number]),
            }
            for number in shown
        ],
        cost=_cost(Model.cost(model)),
    )


def _cost(path: Path) -> list[tuple[str, str]]:
    """(what, how much); nothing where the training ran elsewhere."""
    if not path.is_file():
        return []
    cost = read_json(path, made_by="train")
    minutes = cost["seconds"] / 60
    facts = [
        ("ran on", f"{cost['devices']} x {cost['device']}, {cost['precision']}"),
        ("time", f"{minutes:.1f} min, stops left out; {cost['device_hours']:.3g} device hours"),
        ("memory", f"{cost['peak_memory_bytes'] / 2**30:.2f} GiB at most in the main process"),
    ]
    if throughput := cost["throughput"]:
        facts.append(("speed", ", ".join(text.format(throughput[key]) for key, text in COST_FACTS.items())))
    return facts
