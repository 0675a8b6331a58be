"""Examples are made a batch at a time."""


def index_batches(count: int, batch_size: int) -> list[list[int]]:
    """0..count-1 in runs of at most `batch_size`."""
    return [list(range(start, min(start + batch_size, count))) for start in range(0, count, batch_size)]
