"""Batches of indices."""

from linnet.inference.batching import index_batches


def test_batches_cover_all_indices_once() -> None:
    assert index_batches(7, 3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert index_batches(6, 3) == [[0, 1, 2], [3, 4, 5]]
    assert index_batches(0, 3) == []
