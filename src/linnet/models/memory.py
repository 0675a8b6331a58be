"""How much memory a batch takes on a device, found with small ones, and the sentence for one that does not fit."""

import gc
import math
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from linnet.errors import LinnetError, first_line, is_out_of_memory
from linnet.memory import available_bytes, in_words

# What a process takes for each byte of living tensors: glibc keeps what was freed, in pieces that do not always fit (up
# to 1.7 after a few steps); torch's allocator on GPUs rounds up, and convolutions take workspaces.
OVERHEAD = {"cpu": 1.7, "cuda": 1.2}


class BatchMemoryError(LinnetError):
    """A batch does not fit into the memory of its device."""


def available_on(device: torch.device) -> int:
    """Bytes that tensors on `device` may still take, with what torch holds of a GPU for later tensors."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    return available_bytes()


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are made inside it, while they live.

    What kernels take for themselves and give back before they end is not seen.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch's compiler, whose import takes seconds, is not needed for that

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call `func` and count what it returns."""
        given = {each.untyped_storage()._cdata for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor) and each.untyped_storage()._cdata not in given:
                self._count(each.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, num_bytes = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.now += num_bytes
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, num_bytes)

    def _forget(self, key: int, num_bytes: int) -> None:
        self._known.discard(key)
        self.now -= num_bytes


@dataclass(frozen=True)
class BatchMemory:
    """Bytes that a batch takes: some whatever its size, some for each example, some for each example of a pass."""

    fixed: int
    per_example: int  # that is there whole, however many passes take it in parts
    per_example_of_pass: int  # activations

    @classmethod
    def on(cls, device: torch.device, *, fixed: int, per_example: int, per_example_of_pass: int = 0) -> Self:
        """For so many bytes of tensors on `device`."""
        overhead = OVERHEAD[device.type]
        return cls(fixed, round(overhead * per_example), round(overhead * per_example_of_pass))

    def of(self, size: int, passes: int = 1) -> int:
        """Of a batch of `size`, taken in `passes` equal parts."""
        return self.fixed + self.per_example * size + self.per_example_of_pass * -(-size // passes)

    def largest(self, free: int, passes: int = 1) -> int:
        """The largest batch that `free` bytes hold; 0 where not even one example fits."""
        return max(0, int((free - self.fixed) / (self.per_example + self.per_example_of_pass / passes)))

    def fewest_passes(self, size: int, free: int) -> int | None:
        """The least divisor of `size` that makes the batch fit in so many passes; None where none does."""
        small = [passes for passes in range(1, math.isqrt(size) + 1) if size % passes == 0]
        divisors = sorted({*small, *(size // passes for passes in small)} - {1})
        return next((passes for passes in divisors if self.of(size, passes) <= free), None)


@contextmanager
def explains_memory(device: torch.device, explain: Callable[[int, str], str]) -> Iterator[None]:
    """Where memory runs out inside, what was made inside is given up, and the error is what `explain` says.

    Args:
        explain: gets the bytes that were free at the beginning and how the library put it; it may take memory itself.

    Raises:
        BatchMemoryError: the memory ran out.
    """
    free = available_on(device)
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        reason = first_line(error)
        traceback.clear_frames(error.__traceback__)  # they hold what did not fit
    else:
        return
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        message = explain(free, reason)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        message = (
            f"not even one example fits into the memory of {where(device)} ({in_words(free)} were free): take a "
            "smaller [model], or a machine with more memory"
        )
    raise BatchMemoryError(message)


def where(device: torch.device) -> str:
    """Whose memory it is, for people."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "this machine"
