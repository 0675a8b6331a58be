"""The README's two pictures, from what `make run` made: python docs/images/render.py

Before it, for the sound: linnet generate recipes/music-demo.toml "bell, slow" --seconds 4 --guidance 2
"""

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

from linnet.artifacts import Samples
from linnet.audio.spectrogram_image import spectrogram_image
from linnet.reports import html

ROOT = Path(__file__).parents[2]
BIRDS, BIRD_ROWS, BIRD_COLUMNS, BIRD_SCALE = "build/birds-demo/samples", 4, 8, 2
COLOURS = 128  # of a palette: a third of the bytes
MUSIC, HEIGHT, WIDTH = "build/music-demo/generated/000000.flac", 270, 480


def main() -> None:
    """Write birds.png and music.png beside this file."""
    birds = np.load(ROOT / BIRDS / Samples.examples)[: BIRD_ROWS * BIRD_COLUMNS]
    large = birds.repeat(BIRD_SCALE, axis=1).repeat(BIRD_SCALE, axis=2)
    save("birds.png", html.grid(large, columns=BIRD_COLUMNS))
    waveform, rate_hz = soundfile.read(ROOT / MUSIC)
    save("music.png", spectrogram_image(waveform, sample_rate_hz=rate_hz, height=HEIGHT, width=WIDTH))


def save(name: str, image: NDArray[np.uint8]) -> None:
    """Write uint8 [height, width, 3] beside this file."""
    Image.fromarray(image).quantize(COLOURS).save(Path(__file__).parent / name, optimize=True)


if __name__ == "__main__":
    main()
