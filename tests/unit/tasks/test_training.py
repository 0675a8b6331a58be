import pytest
import torch

from linnet.tasks import training
from support.tiny import tiny_recipe


@pytest.mark.parametrize(
    ("cores", "batch_size", "expected"),
    [(1, 16, 1), (2, 16, 2), (4, 16, 4), (8, 64, 8), (64, 16, 4), (3, 64, 2), (2, 8, 2), (2, 4, 1)],
)
def test_a_cpu_has_a_process_for_each_four_examples(
    cores: int, batch_size: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "usable_cores", lambda: cores)
    recipe = tiny_recipe(f"train.batch_size={batch_size}")
    assert training.default_processes(recipe, torch.device("cpu")) == expected
    with_batch_norm = tiny_recipe(f"train.batch_size={batch_size}", "model.noise_injection=input")
    assert training.default_processes(with_batch_norm, torch.device("cpu")) == 1
