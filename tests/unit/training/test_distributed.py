"""Real process groups (gloo) on this machine: more processes compute the same training."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from linnet.hashes import folder_hash
from linnet.launch import torchrun
from linnet.launch.torchrun import LaunchError
from linnet.stages import preprocess, train
from linnet.training.distributed import DistributedContext, DistributedError, distributed_context
from linnet.training.execution import ExecutionError
from support.tiny import tiny_raw_data, tiny_recipe
from support.workers import fail, kill_rank_1

CPU = torch.device("cpu")
UNET = (
    "model={kind='unet', channels=16, channel_multipliers=[1, 2], blocks_per_level=1, "
    "attention_heads_by_level=[0, 1], middle_attention_heads=1, norm_groups=8, timestep_injection='shift', "
    "resampling='conv', frequency_layer={kind='none'}, dropout=0.3}"
)
DIT = "model={kind='dit', patch_size=4, patch_overlap=0, width=32, num_blocks=2, num_heads=2, mlp_ratio=2, dropout=0.3}"
INPUT_MODEL = ("model.noise_injection=input", "model.attention_heads_by_level=[0, 0]")  # this one has batch norm


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    preprocess.run(tiny_recipe().data, raw=tiny_raw_data(folder / "raw"), out=folder / "dataset", workers=1)
    return folder / "dataset"


def run_training(dataset: Path, folder: Path, processes: int, *overrides: str, passes: int = 1) -> Path:
    torchrun.start(
        train.run,
        tiny_recipe("train.duration_kexamples=0.16", *overrides),
        processes=processes,
        dataset=dataset,
        out=folder / "model",
        work=folder / "work",
        mirror=None,
        device=CPU,
        checkpoint_every_seconds=0.0,
        keep_checkpoint=False,
        track=False,
        passes=passes,
    )
    return folder / "model"


MUON = "train.optimizer={kind='muon', momentum=0.95, beta1=0.9, beta2=0.99, weight_decay=0.01}"
MODELS = pytest.mark.parametrize(
    "model", ["model.stem_channels=8", UNET, DIT], ids=["compact", "unet-dropout", "dit-dropout"]
)


@MODELS
def test_two_processes_train_what_one_trains(dataset: Path, tmp_path: Path, model: str) -> None:
    """40 steps in float32: weights differ by rounding, and by far less than one step changes them; dropout, too."""
    one, two = (run_training(dataset, tmp_path / str(count), count, model) for count in (1, 2))
    assert_equal_but_for_rounding(one, two)


@MODELS
def test_two_passes_train_what_one_trains(dataset: Path, tmp_path: Path, model: str) -> None:
    one, two = (run_training(dataset, tmp_path / str(count), 1, model, passes=count) for count in (1, 2))
    assert_equal_but_for_rounding(one, two)


def test_two_processes_orthogonalize_what_one_does(dataset: Path, tmp_path: Path) -> None:
    one, two = (run_training(dataset, tmp_path / str(count), count, UNET, MUON) for count in (1, 2))
    assert_equal_but_for_rounding(one, two)


def test_two_passes_of_two_processes_train_what_one_trains(dataset: Path, tmp_path: Path) -> None:
    one, two = (run_training(dataset, tmp_path / str(count), count, UNET, passes=count) for count in (1, 2))
    assert_equal_but_for_rounding(one, two)


def test_passes_that_would_change_the_result_are_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ExecutionError, match=r"--passes 3 does not divide the 4 examples .*; give --passes 2"):
        run_training(dataset, tmp_path, 1, passes=3)
    with pytest.raises(ExecutionError, match="--passes 2: batch norm takes its statistics over the whole batch"):
        run_training(dataset, tmp_path, 1, *INPUT_MODEL, passes=2)


def assert_equal_but_for_rounding(one: Path, two: Path) -> None:
    for name in ("model.safetensors", "ema.safetensors"):
        a, b = load_file(one / name), load_file(two / name)
        assert max(float((a[key] - b[key]).abs().max()) for key in a) < 1e-4
    history = [(folder / "history.csv").read_text().splitlines() for folder in (one, two)]
    assert len(history[0]) == len(history[1])
    for a_line, b_line in zip(*(lines[1:] for lines in history), strict=True):
        assert [float(x) for x in a_line.split(",")] == pytest.approx([float(x) for x in b_line.split(",")], rel=1e-4)


@pytest.mark.e2e
def test_two_stopped_processes_go_on_to_the_same_bits(dataset: Path, tmp_path: Path) -> None:
    whole = run_training(dataset, tmp_path / "whole", 2)
    folder = tmp_path / "stopped"
    code = (
        "from pathlib import Path; import unit.training.test_distributed as t\n"
        f"if __name__ == '__main__': t.run_training(Path({str(dataset)!r}), Path({str(folder)!r}), 2)"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, str(script)], env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not list(folder.glob("work/*/checkpoint-?.pt")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode != 0, stderr
    assert not (folder / "model").exists()
    assert folder_hash(run_training(dataset, folder, 2)) == folder_hash(whole)


def test_a_mistake_in_a_process_is_one_sentence(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(
        LaunchError, match=r"^\[train\] batch_size = 5 .* among 2 processes; give --set train\.batch_size=6 or --pro"
    ):
        run_training(dataset, tmp_path, 2, "train.batch_size=5")
    with pytest.raises(LaunchError, match=r"^batch norm over 2 processes needs GPUs"):
        run_training(dataset, tmp_path, 2, *INPUT_MODEL)


def test_a_full_disk_in_a_process_is_one_sentence() -> None:
    with pytest.raises(LaunchError, match=r"^/somewhere/model: No space left on device; .*free some space there"):
        torchrun.start(fail, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/model"), processes=2)


@pytest.mark.parametrize("bug", [ValueError("shapes: differ"), AssertionError()], ids=repr)
def test_a_bug_in_a_process_is_not_taken_for_a_mistake(bug: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """It is no sentence for people: they are sent to its traceback."""
    with pytest.raises(LaunchError, match=r"^training process [01] ended with status 1; its last lines are above"):
        torchrun.start(fail, bug, processes=2)
    assert "raise error" in caplog.text


def test_a_killed_process_is_named(tmp_path: Path) -> None:
    with pytest.raises(torchrun.KilledError, match=r"process 1 was killed, most likely because the memory ran out"):
        torchrun.start(kill_rank_1, processes=2)


def test_rows_of_all_ranks_are_the_whole_batch() -> None:
    rows = [DistributedContext(rank, 3, CPU).local_rows(12) for rank in range(3)]
    assert [list(range(12))[each] for each in rows] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_a_single_process_wraps_and_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    network = nn.BatchNorm1d(2)
    with distributed_context(CPU, batch_size=3) as distributed:
        assert distributed.wrap_ddp(network) is network
        assert distributed.sync_layers(network) is network
        assert distributed.all_reduce_max(7) == 7
        assert distributed.broadcast({"a": 1}) == {"a": 1}
        assert distributed.is_main_process


def test_batch_norm_on_a_gpu_is_synchronised() -> None:
    distributed = DistributedContext(0, 2, torch.device("cuda", 0))
    converted = distributed.sync_layers(nn.Sequential(nn.BatchNorm2d(4, affine=False)))
    assert isinstance(converted[0], nn.SyncBatchNorm)  # type: ignore[index]
    with pytest.raises(DistributedError):
        DistributedContext(0, 2, CPU).sync_layers(nn.BatchNorm2d(4))
