"""Which server is used, what is printed of its address, and what it must be on a cluster."""

from pathlib import Path

import pytest

from linnet.tracking.client import TrackingError, check_server, display_uri, tracking_uri


def test_the_default_is_a_store_in_the_working_folder(workspace: Path) -> None:
    assert tracking_uri() == f"sqlite:///{workspace / 'mlflow.db'}"
    check_server(outlives_pods=False)
    with pytest.raises(TrackingError, match=r"names no server \(sqlite:.*\): what is logged there would be gone with"):
        check_server(outlives_pods=True)


def test_a_password_is_used_and_never_printed(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:1")
    assert tracking_uri() == "http://user:secret@127.0.0.1:1"
    assert display_uri() == "http://127.0.0.1:1"
    with pytest.raises(TrackingError, match=r"\(http://127\.0\.0\.1:1\) holds a user; put user and password into"):
        check_server(outlives_pods=True)
