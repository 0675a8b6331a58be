"""From stored pictures to standardised batches of 64: linnet's arrays, an ImageFolder, and Hugging Face datasets.

All three hold the same 64 x 64 pictures, cut and resized beforehand, and give shuffled float32 batches with labels.
The peers read what their users have: PNG files in a folder a class, and a datasets.Dataset with an Image column; both
through a DataLoader, in this process and with two worker processes.

    python benchmarks/bench_loading.py [--json FILE]
"""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from linnet.artifacts import Dataset
from linnet.data.arrays import open_array
from linnet.data.batches import batch_indices
from linnet.data.synthetic.birds import make_birds
from linnet.modalities.image_codec import ImageCodec
from linnet.modalities.statistics import ImageStatistics, read_statistics
from linnet.recipe.load import load_recipe
from linnet.reports.html import save_png
from linnet.stages import preprocess
from linnet.training.examples import load_rows
from timing import arguments, compare, write_json

SIZE, PER_SPECIES, BATCH, BATCHES, ROUNDS = 64, 200, 64, 40, 5
WORKERS = 2
CPU = torch.device("cpu")
RECIPE = Path(__file__).parents[1] / "recipes" / "birds-demo.toml"

Batches = Iterator[tuple[Tensor, Tensor]]  # float32 [B, 3, H, W] and int64 [B], without an end


def main() -> None:
    """Print the rates of all."""
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        dataset = _preprocess(Path(scratch))
        images = np.asarray(open_array(dataset / Dataset.images("train")))
        labels = np.asarray(open_array(dataset / Dataset.labels("train")))
        statistics = read_statistics(dataset / Dataset.statistics, made_by="preprocess")
        assert isinstance(statistics, ImageStatistics)
        codec = ImageCodec.of(statistics, CPU)
        transform = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), _normalise(statistics)])
        folder = _as_folder(images, labels, Path(scratch) / "folder")
        peers = {}
        for workers in (0, WORKERS):
            with_workers = f", {workers} workers" if workers else ""
            peers[f"ImageFolder, DataLoader{with_workers}"] = _image_folder(folder, transform, workers)
            peers[f"datasets, DataLoader{with_workers}"] = _hugging_face(images, labels, transform, workers)
        runs: dict[str, Callable[[], object]] = {name: _take(batches) for name, batches in peers.items()}
        runs["linnet"] = _take(_linnet(images, labels, codec))
        compare(
            f"{len(images):,} pictures of {SIZE} x {SIZE} in batches of {BATCH}",
            runs,
            units=BATCH * BATCHES,
            unit="pictures",
            rounds=ROUNDS,
        )
    write_json(options.json)


def _preprocess(folder: Path) -> Path:
    make_birds(folder / "raw", per_species=PER_SPECIES)
    data = load_recipe(RECIPE, [f"data.image_size_pixels={SIZE}"]).data
    preprocess.run(data, raw=folder / "raw", out=folder / "dataset", workers=preprocess.usable_cores())
    return folder / "dataset"


def _normalise(statistics: ImageStatistics) -> v2.Normalize:
    return v2.Normalize(mean=list(statistics.mean), std=list(statistics.std))


def _take(batches: Batches) -> Callable[[], object]:
    return lambda: [images.sum() for images, _ in itertools.islice(batches, BATCHES)]


def _linnet(images: NDArray[np.uint8], labels: NDArray[np.int64], codec: ImageCodec) -> Batches:
    all_labels = torch.from_numpy(np.array(labels))
    batches = (np.sort(batch) for batch in batch_indices(len(images), BATCH, seed=0, start_step=0))
    for rows in load_rows(images, batches, slice(None), CPU):
        yield codec.encode(rows.examples), all_labels[rows.indices]


def _as_folder(images: NDArray[np.uint8], labels: NDArray[np.int64], folder: Path) -> Path:
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / f"{label:03d}" / f"{number:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_png(path, image)
    return folder


def _image_folder(folder: Path, transform: v2.Compose, workers: int) -> Batches:
    return _repeat(_loader(ImageFolder(str(folder), transform), workers))


def _hugging_face(images: NDArray[np.uint8], labels: NDArray[np.int64], transform: v2.Compose, workers: int) -> Batches:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    stored = datasets.Dataset.from_dict({"image": list(images), "label": labels}, features=features)

    def transformed(rows: dict[str, Any]) -> dict[str, Any]:
        return {"image": [transform(image) for image in rows["image"]], "label": rows["label"]}

    for batch in _repeat(_loader(stored.with_transform(transformed), workers)):
        yield batch["image"], batch["label"]


def _loader(dataset: Any, workers: int) -> DataLoader[Any]:
    return DataLoader(
        dataset, batch_size=BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )


def _repeat(loader: DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from loader


if __name__ == "__main__":
    main()
