"""Which examples make which batch: a pure function of (seed, step), so that there is no state to save."""

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def batch_indices(dataset_size: int, batch_size: int, *, seed: int, start_step: int) -> Iterator[NDArray[np.int64]]:
    """Endless shuffled batches of `batch_size` indices, starting with batch `start_step`.

    Every epoch visits each example once, in an order of its own; a batch may end one epoch and begin the next.
    """
    cached_epoch, order = -1, np.empty(0, dtype=np.int64)
    for step in itertools.count(start_step):
        batch = np.empty(batch_size, dtype=np.int64)
        filled = 0
        while filled < batch_size:
            epoch, start = divmod(step * batch_size + filled, dataset_size)
            if epoch != cached_epoch:
                cached_epoch, order = epoch, np.random.default_rng([seed, epoch]).permutation(dataset_size)
            indices = order[start : start + batch_size - filled]
            batch[filled : filled + len(indices)] = indices
            filled += len(indices)
        yield batch
