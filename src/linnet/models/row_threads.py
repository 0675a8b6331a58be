"""A batch on the cores of a CPU: its rows are divided among threads that do not wait for one another.

Where several threads share a kernel it ends when the last of them does, so one busy neighbour holds up all of them at
every kernel. Rows have nothing to do with each other; the same network on each part of them is as fast on an idle CPU
and twice as fast beside one busy process (docs/lab-log.md).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor

LEAST_ROWS = 16  # of a part: with fewer, Python takes as long as the kernels


def map_rows(function: Callable[..., Tensor], *arguments: Tensor | None, device: torch.device) -> Tensor:
    """`function(*arguments)`, where row n of the result depends on row n of each argument alone.

    On a CPU, where no gradients are recorded, parts of the rows are computed at the same time.

    Args:
        function: enters what torch keeps for each thread (autocast) itself.
        arguments: [B, ...] each; those that are None stay None.
    """
    num_rows = next(len(each) for each in arguments if each is not None)
    num_threads = torch.get_num_threads()
    parts = min(num_threads, num_rows // LEAST_ROWS)
    if device.type != "cpu" or parts < 2 or torch.is_grad_enabled():
        return function(*arguments)
    each_threads = num_threads // parts
    is_inference = torch.is_inference_mode_enabled()

    def compute(*rows: Tensor | None) -> Tensor:
        with torch.inference_mode(is_inference), torch.no_grad():
            return function(*rows)

    split = [[None] * parts if each is None else each.tensor_split(parts) for each in arguments]
    try:
        torch.set_num_threads(each_threads)  # of OpenMP in this thread, and of MKL in the process
        return torch.cat(list(_pool(parts, each_threads).map(compute, *split)))
    finally:
        torch.set_num_threads(num_threads)


@cache
def _pool(size: int, num_threads: int) -> ThreadPoolExecutor:
    """Kept, because what kernels keep for each thread is worth a fifth of their time."""
    return ThreadPoolExecutor(size, "rows", initializer=torch.set_num_threads, initargs=(num_threads,))
