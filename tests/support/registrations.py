"""Many processes at once that register one model, as pipeline runs of the same recipe do."""

import multiprocessing
import os
from collections import Counter
from pathlib import Path

from linnet.registry.versions import version_once
from linnet.tracking.client import RUN_KEY, connect
from support.registry import NAME


def register_once(key: str, folder: Path, environment: dict[str, str]) -> int:
    """What `register` does between its upload and its decision, in a process of its own."""
    os.environ.clear()  # the server of forks has kept that of its beginning
    os.environ |= environment
    os.chdir(folder)
    client = connect()
    made = version_once(
        client, NAME, key, lambda: client.create_model_version(NAME, "s3://bucket/model", tags={RUN_KEY: key})
    )
    return int(made.version)


def register_at_once(keys: list[str], folder: Path) -> dict[str, set[int]]:
    """A process for each of `keys`; the numbers of the versions that each key was told."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlflow", "mlflow.store.tracking.sqlalchemy_store", __name__])
    with context.Pool(len(keys)) as pool:
        numbers = pool.starmap(register_once, [(key, folder, dict(os.environ)) for key in keys], chunksize=1)
    return {key: {number for other, number in zip(keys, numbers, strict=True) if other == key} for key in keys}


def check_versions(told: dict[str, set[int]]) -> None:
    """There is one version of each key, whose number all were told, and no lock is left."""
    client = connect()
    found = Counter(entry.tags[RUN_KEY] for entry in client.search_model_versions(f"name = '{NAME}'"))
    assert found == Counter(dict.fromkeys(told, 1))
    assert sorted(number for numbers in told.values() for number in numbers) == list(range(1, len(told) + 1))
    assert [one.name for one in client.search_registered_models()] == [NAME]
