"""A [data] section for images, to be changed with `model_copy`."""

from linnet.recipe import CaltechLayout, Images, OfficialSplit

BIRDS = Images(
    kind="images",
    layout=CaltechLayout(kind="caltech"),
    folder="birds",
    image_size_pixels=8,
    split=OfficialSplit(kind="official"),
    max_rejected_fraction=0.0,
)
