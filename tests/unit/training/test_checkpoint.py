import signal
import time
from pathlib import Path

import pytest
import torch

from linnet.training.checkpoint import CheckpointError, CheckpointStore
from linnet.training.stopping import stop_on_signals

CPU = torch.device("cpu")


def test_newest_state_wins_and_survives_an_unfinished_save(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "work", every_seconds=60)
    assert store.load(CPU) is None
    for step in (1, 2, 3):
        store.save({"step": step, "weights": torch.arange(step)})
    store.wait()
    (tmp_path / "work" / ".checkpoint-b.pt.partial").write_bytes(b"half a checkpoint")  # what SIGKILL leaves
    assert loaded_step(tmp_path / "work") == 3


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_of_a_damaged_checkpoint_the_one_before_is_used_and_then_written_beside_it(tmp_path: Path, damage: str) -> None:
    store = CheckpointStore(tmp_path, every_seconds=60)
    for step in (1, 2):
        store.save({"step": step, "weights": torch.arange(100)})
    store.wait()
    newest = tmp_path / "checkpoint-b.pt"
    stored = bytearray(newest.read_bytes())
    stored[len(stored) // 2] ^= 1
    newest.write_bytes({"flip": bytes(stored), "cut": bytes(stored[:100]), "empty": b""}[damage])
    again = CheckpointStore(tmp_path, every_seconds=60)
    saved = again.load(CPU)
    assert saved is not None
    assert saved["step"] == 1
    again.save({"step": 5})  # over the damaged one
    again.wait()
    assert loaded_step(tmp_path) == 5
    (tmp_path / "checkpoint-b.pt").write_bytes(b"damaged, too")
    assert loaded_step(tmp_path) == 1
    (tmp_path / "checkpoint-a.pt").write_bytes(b"damaged, too")
    with pytest.raises(CheckpointError, match=r"cannot be used.*delete .* to train from the beginning"):
        loaded_step(tmp_path)


def test_what_is_saved_is_the_state_of_that_moment(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, every_seconds=60)
    weights = torch.zeros(1_000_000)
    store.save({"step": 1, "weights": weights})
    weights.fill_(1.0)  # while the other thread may still be writing
    store.wait()
    saved = store.load(CPU)
    assert saved is not None
    assert float(saved["weights"].abs().max()) == 0


def test_a_full_disk_is_reported_by_the_next_save(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, every_seconds=60)
    (tmp_path / ".checkpoint-a.pt.partial").symlink_to("/dev/full")
    store.save({"step": 1, "weights": torch.zeros(10_000)})
    with pytest.raises(OSError, match=r"No space left.*/checkpoint-a.pt"):
        store.save({"step": 2})


def loaded_step(folder: Path) -> int:
    saved = CheckpointStore(folder, every_seconds=60).load(CPU)
    assert saved is not None
    return int(saved["step"])


def test_it_is_due_after_its_time(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, every_seconds=0.05)
    assert not store.is_due()
    time.sleep(0.06)
    assert store.is_due()
    store.save({"step": 1})
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
