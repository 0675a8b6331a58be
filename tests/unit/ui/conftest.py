from collections.abc import Callable
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import linnet.ui
from support.tiny import tiny_audio_data, tiny_music_recipe, tiny_raw_data, tiny_recipe
from support.ui import SHORT, train_tiny, write_section

LABELS = "conditioning={ kind = 'multi_label', num_labels = 16, dropout = 0.1 }"


@pytest.fixture(scope="session")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build folder with a class model, sampled once, and an unconditional one, not sampled yet."""
    folder = tmp_path_factory.mktemp("birds")
    raw = tiny_raw_data(folder / "raw")
    recipe = tiny_recipe("sample.guidance_scale=1.5", *SHORT)
    write_section(train_tiny(folder / "build", recipe, raw), recipe)
    train_tiny(folder / "build", tiny_recipe("name=free", "conditioning={ kind = 'none' }", *SHORT), raw)
    return folder / "build"


@pytest.fixture(scope="session")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build folder with a text model and one that knows labels."""
    folder = tmp_path_factory.mktemp("music")
    raw = tiny_audio_data(folder / "raw", "music")
    recipe = tiny_music_recipe(*SHORT)
    write_section(train_tiny(folder / "build", recipe, raw), recipe)
    train_tiny(folder / "build", tiny_music_recipe("name=album", LABELS, *SHORT), raw)
    return folder / "build"


@pytest.fixture
def open_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """The page of a build folder, in a working folder where there is no registry."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    st.cache_resource.clear()
    st.cache_data.clear()

    def run(*arguments: str | Path) -> AppTest:
        monkeypatch.setattr("sys.argv", ["app.py", *map(str, arguments)])
        return AppTest.from_file(str(Path(linnet.ui.__file__).parent / "app.py"), default_timeout=60).run()

    return run
