"""A database without a server, and servers that are none: one sentence, soon, without a password."""

import time

import pytest

from linnet.tracking.client import check_server
from linnet.tracking.failures import TrackingError


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("postgresql://u:secret@127.0.0.1:1/x", r"postgresql://127\.0\.0\.1:1/x: does not answer .*Connection refused"),
        ("postgresql+psycopg://u:sec/ret@127.0.0.1:1/x", r"psycopg://127\.0\.0\.1:1/x: does not answer"),
        ("postgresql://u:secret@127.0.0.1:port/x", r"refuses \(invalid literal"),
        ("mssql+pyodbc://u:secret@127.0.0.1:1/x", r"needs the Python package of 'pyodbc', which is not installed here"),
        ("postgres://u:secret@127.0.0.1/x", r"got unsupported URI 'postgres://127\.0\.0\.1/x'"),
    ],
)
def test_what_does_not_let_us_in(uri: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    check_started = time.monotonic()
    with pytest.raises(TrackingError, match=words) as error:
        check_server(outlives_pods=False)
    assert time.monotonic() - check_started < 20, "MLflow tries for two minutes"
    assert "sec" not in str(error.value).replace("second", "")
    assert "\n" not in str(error.value)
