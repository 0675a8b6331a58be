"""From original photographs to 64 x 64 arrays: linnet's reader and torchvision's transforms, one core each.

The baseline opens the same files, crops the same square and resizes with torchvision's antialiased Resize, as an
ImageFolder data set with transforms does. The images are synthetic birds of about 500 x 375 pixels, the original's
size, saved as JPEG.

    python benchmarks/bench_preprocess.py [FOLDER IN THE CALTECH LAYOUT] [--json FILE]
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from linnet.data.images import crop_square, read_crop
from linnet.data.layouts.base import ImageRecord
from linnet.data.layouts.caltech import read_index
from linnet.data.synthetic.birds import make_birds
from linnet.memory import keep_freed_memory
from timing import arguments, compare, write_json

SIZE, NUM_IMAGES, ROUNDS = 64, 80, 9


def main() -> None:
    """Print both rates."""
    parser = arguments(__doc__)
    keep_freed_memory()  # as the readers of preprocess do, for both sides
    parser.add_argument("folder", nargs="?", type=Path, help="real pictures in the Caltech layout")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        raw = options.folder or Path(scratch)
        if options.folder is None:
            make_birds(raw, per_species=NUM_IMAGES // 8)
        records = read_index(raw).records[:NUM_IMAGES]
        compare(
            f"{len(records)} images of {options.folder or 'the synthetic set'} to {SIZE} x {SIZE}",
            {
                "torchvision (PIL, crop, Resize)": lambda: [_torchvision(record) for record in records],
                "linnet": lambda: [_linnet(record) for record in records],
            },
            units=len(records),
            unit="images",
            rounds=ROUNDS,
        )
    write_json(options.json)


def _linnet(record: ImageRecord) -> object:
    assert record.path is not None
    return read_crop(record.path, record.box, SIZE)


_RESIZE = v2.Resize((SIZE, SIZE), interpolation=v2.InterpolationMode.BICUBIC, antialias=True)


def _torchvision(record: ImageRecord) -> object:
    assert record.path is not None
    assert record.box is not None
    with Image.open(record.path) as image:
        rgb = image.convert("RGB")
    left, top, side = crop_square(record.box, *rgb.size)
    square = v2.functional.crop(rgb, round(top), round(left), round(side), round(side))
    return torch.from_numpy(np.array(_RESIZE(square)))


if __name__ == "__main__":
    main()
