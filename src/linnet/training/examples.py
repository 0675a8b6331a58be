"""Training examples on their way to the device: kept there where they fit, else fetched ahead in pinned memory."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RESIDENT_SHARE = 0.3  # of the free memory of a GPU that a dataset may take; the rest is for the network
BATCHES_AHEAD = 3
COPIED_AT_ONCE = 4096  # examples


class Rows(NamedTuple):
    """The examples of a batch, on the device."""

    indices: Tensor  # int64 [batch], of all ranks
    examples: Tensor  # of this rank, as the dataset stores them


def load_rows(
    examples: NDArray[Any], batches: Iterator[NDArray[np.int64]], rows: slice, device: torch.device
) -> Iterator[Rows]:
    """Batch after batch without an end; on a GPU the host never waits for a copy.

    Args:
        examples: [N, ...], also a memory-mapped file.
        batches: the indices of each batch, of all ranks.
        rows: of a batch, those that this rank trains on.
    """
    if device.type != "cuda":
        return (Rows(torch.from_numpy(batch), torch.from_numpy(examples[batch[rows]])) for batch in batches)
    if examples.nbytes <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
        return _resident_rows(_copy_to_device(examples, device), batches, rows)
    return _prefetched_rows(examples, batches, rows, device)


def _resident_rows(examples: Tensor, batches: Iterator[NDArray[np.int64]], rows: slice) -> Iterator[Rows]:
    for batch in batches:
        indices = _to_device(torch.from_numpy(batch).pin_memory(), examples.device)
        yield Rows(indices, examples[indices[rows]])


def _prefetched_rows(
    examples: NDArray[Any], batches: Iterator[NDArray[np.int64]], rows: slice, device: torch.device
) -> Iterator[Rows]:
    def gather(batch: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        chosen = torch.empty((len(batch[rows]), *examples.shape[1:]), dtype=_torch_dtype(examples), pin_memory=True)
        np.take(examples, batch[rows], axis=0, out=chosen.numpy(), mode="clip")  # "raise" would copy twice
        return torch.from_numpy(batch).pin_memory(), chosen

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="examples") as pool:
        ahead: deque[Future[tuple[Tensor, Tensor]]] = deque()
        for batch in batches:
            ahead.append(pool.submit(gather, batch))
            if len(ahead) > BATCHES_AHEAD:
                indices, chosen = ahead.popleft().result()
                yield Rows(_to_device(indices, device), _to_device(chosen, device))


def _copy_to_device(examples: NDArray[Any], device: torch.device) -> Tensor:
    copied = torch.empty(examples.shape, dtype=_torch_dtype(examples), device=device)
    for first in range(0, len(examples), COPIED_AT_ONCE):  # never twice in the memory of the host
        part = slice(first, first + COPIED_AT_ONCE)
        copied[part].copy_(torch.from_numpy(np.array(examples[part])))
    return copied


def _torch_dtype(array: NDArray[Any]) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype=array.dtype)).dtype


def _to_device(pinned: Tensor, device: torch.device) -> Tensor:
    return pinned.to(device, non_blocking=True)
