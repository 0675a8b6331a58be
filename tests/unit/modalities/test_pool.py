"""One bad file costs itself, and nothing else: neither the others nor the order."""

import functools
from pathlib import Path

import pytest

from linnet.modalities import pool
from linnet.modalities.pool import KILLED, TOO_LARGE, OrderedPool, ReaderError
from support.readers import raises, read, read_in_company

TASKS = [(number,) for number in range(20)]


@pytest.mark.parametrize("chunk_size", [1, 3, 32])
def test_bad_files_are_named_and_all_others_read_in_order(chunk_size: int) -> None:
    function = functools.partial(read, killers=(0, 8, 19), too_large=(3, 9))
    with OrderedPool(function, TASKS, 2, chunk_size=chunk_size) as results:
        found = list(results)
    expected: list[int | str] = [number**2 for number in range(20)]
    for number in (0, 8, 19):
        expected[number] = KILLED
    for number in (3, 9):
        expected[number] = TOO_LARGE
    assert found == expected


def test_what_was_killed_for_its_company_is_read_alone(tmp_path: Path) -> None:
    company = tmp_path / "company"
    company.touch()
    with OrderedPool(functools.partial(read_in_company, company=company), [(5,)], 1) as results:
        assert list(results) == [25]
    assert not company.exists()


def test_many_killed_readers_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MAX_KILLED", 3)
    function = functools.partial(read, killers=tuple(range(20)), too_large=())
    with OrderedPool(function, TASKS, 2, chunk_size=4) as results, pytest.raises(ReaderError, match="the last at 2"):
        list(results)


def test_a_bug_is_a_bug() -> None:
    with OrderedPool(raises, TASKS, 1) as results, pytest.raises(KeyError):
        list(results)
