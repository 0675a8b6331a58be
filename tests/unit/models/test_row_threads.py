"""Rows of a batch on several threads: the numbers of one call, each part in a thread of its own."""

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from linnet.models.build import build_network
from linnet.models.precision import autocast
from linnet.models.row_threads import LEAST_ROWS, map_rows
from linnet.recipe import Recipe, ResolvedPrecision
from support.tiny import tiny_audio_recipe, tiny_music_recipe, tiny_recipe

CPU = torch.device("cpu")
RECIPES = [tiny_recipe(), tiny_audio_recipe(), tiny_music_recipe()]


@pytest.fixture(autouse=True)
def _three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


class Watch:
    """Doubles rows, and remembers on which threads, how many each and with how many threads for kernels."""

    def __init__(self) -> None:
        self.parts: list[int] = []
        self.threads: set[int] = set()
        self.kernel_threads: set[int] = set()

    def __call__(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        self.parts.append(len(x))
        self.threads.add(threading.get_ident())
        self.kernel_threads.add(torch.get_num_threads())
        return 2 * x if other is None else 2 * x + other


@torch.no_grad()
def test_rows_come_back_in_order_from_as_many_threads_as_there_are() -> None:
    watch, x = Watch(), torch.arange(3.0 * LEAST_ROWS + 1)
    assert torch.equal(map_rows(watch, x, None, device=CPU), 2 * x)
    assert sorted(watch.parts) == [LEAST_ROWS, LEAST_ROWS, LEAST_ROWS + 1]
    assert threading.get_ident() not in watch.threads
    assert watch.kernel_threads == {1}
    assert torch.get_num_threads() == 3


@torch.no_grad()
def test_arguments_are_divided_together() -> None:
    x = torch.arange(50.0)
    assert torch.equal(map_rows(Watch(), x, -2 * x, device=CPU), torch.zeros(50))


@torch.no_grad()
def test_threads_that_find_too_few_rows_share_kernels() -> None:
    torch.set_num_threads(4)
    watch, x = Watch(), torch.arange(2.0 * LEAST_ROWS)
    map_rows(watch, x, device=CPU)
    assert watch.parts == [LEAST_ROWS, LEAST_ROWS]
    assert watch.kernel_threads == {2}


@pytest.mark.parametrize(
    ("rows", "device", "records"),
    [(2 * LEAST_ROWS - 1, CPU, False), (99, CPU, True), (99, torch.device("meta"), False)],
)
def test_few_rows_gradients_and_other_devices_take_one_call(rows: int, device: torch.device, records: bool) -> None:
    watch, x = Watch(), torch.arange(float(rows))
    with torch.set_grad_enabled(records):
        assert torch.equal(map_rows(watch, x, device=device), 2 * x)
    assert watch.parts == [rows]
    assert watch.kernel_threads == {3}


@torch.no_grad()
def test_a_failure_in_a_thread_is_raised_and_the_threads_are_as_before() -> None:
    def fail(x: Tensor) -> Tensor:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        map_rows(fail, torch.zeros(99), device=CPU)
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("recipe", RECIPES, ids=[recipe.model.kind for recipe in RECIPES])
def test_networks_make_the_same_examples(recipe: Recipe, precision: ResolvedPrecision) -> None:
    torch.manual_seed(0)
    network = build_network(recipe.training()).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)  # some begin as zeros and would hide what is before them

    def denoise(x: Tensor, noise_level: Tensor) -> Tensor:
        with autocast(CPU, precision):
            return network(x, noise_level, None)  # type: ignore[no-any-return]

    x, noise_level = torch.randn(48, *recipe.data.shape), torch.linspace(0.1, 0.9, 48)
    with torch.inference_mode():
        whole = denoise(x, noise_level)
        divided = map_rows(denoise, x, noise_level, device=CPU)
    assert divided.is_inference()
    assert divided.dtype == whole.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
    assert_close(divided, whole, rtol=0.0, atol=1e-5 if precision == "fp32" else 0.05)
