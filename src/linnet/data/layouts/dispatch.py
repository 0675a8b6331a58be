"""The one place that chooses between layouts."""

from typing import assert_never

from linnet.data.layouts.audio_reader import AudioFolderReader
from linnet.data.layouts.base import ImageLayoutReader, LayoutReader
from linnet.data.layouts.caltech import CaltechReader
from linnet.recipe import DataSection, ImageLayout
from linnet.recipe import data as sections


def layout_reader(data: DataSection) -> LayoutReader:
    """The reader for the layout of a [data] section."""
    match data:
        case sections.Images():
            return image_layout_reader(data.layout)
        case sections.Audio():
            return AudioFolderReader(data)
        case _:
            assert_never(data)


def image_layout_reader(layout: ImageLayout) -> ImageLayoutReader:
    """The reader for a layout of images."""
    match layout:
        case sections.CaltechLayout():
            return CaltechReader()
        case _:
            assert_never(layout)
