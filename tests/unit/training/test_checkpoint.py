import signal
import time
from pathlib import Path

import pytest
import torch

from linnet.training.checkpoint import CheckpointStore
from linnet.training.stopping import stop_on_signals

CPU = torch.device("cpu")


def test_newest_state_wins_and_survives_an_unfinished_save(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "work", every_seconds=60)
    assert store.load(CPU) is None
    store.save({"step": 1, "weights": torch.arange(3)})
    store.save({"step": 2, "weights": torch.arange(4)})
    store.path.with_suffix(".partial").write_bytes(b"half a checkpoint")  # what SIGKILL leaves
    saved = CheckpointStore(tmp_path / "work", every_seconds=60).load(CPU)
    assert saved is not None
    assert saved["step"] == 2
    assert torch.equal(saved["weights"], torch.arange(4))


def test_it_is_due_after_its_time(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, every_seconds=0.05)
    assert not store.is_due()
    time.sleep(0.06)
    assert store.is_due()
    store.save({})
    assert not store.is_due()


def test_first_signal_takes_note_second_interrupts_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_on_signals() as stop:
        assert stop.signal_number == 0
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal_number == signal.SIGTERM
        signal.raise_signal(signal.SIGINT)
        assert stop.signal_number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
