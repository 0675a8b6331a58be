"""From a complete job to its model: the lease is held meanwhile, and whoever uses the job is told of."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from linnet.launch import leases
from linnet.launch.leases import LEASE, REMOVING
from support.kubernetes_api import KubernetesApi
from support.trainjobs import NAME, S3, Files, completes, manifest_of, run


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="seconds")


def held_by(api: KubernetesApi) -> set[str]:
    return {name.removeprefix(LEASE) for name in api.jobs[NAME]["metadata"]["annotations"] if name.startswith(LEASE)}


def test_leases_are_refreshed_while_files_are_fetched(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A large model, or an S3 that is away: else a run that is done first takes this one for dead."""
    monkeypatch.setattr("linnet.launch.job.REFRESH_SECONDS", 0.01)
    completes(api)

    def age_and_wait() -> None:
        api.blips = [503]  # once, which is no reason to fail
        lease = api.jobs[NAME]["metadata"]["annotations"]
        lease[LEASE + "run-1"] = ago(leases.FRESH_SECONDS + 10)
        deadline = time.monotonic() + 20
        while "run-1" not in leases.fresh_holders(api.jobs[NAME]):
            assert time.monotonic() < deadline, "the lease was not refreshed"
            time.sleep(0.01)

    files = Files(fetch=age_and_wait)
    run(files=files)
    assert files.done == ["publish", "fetch", "remove"]
    assert "the lease of this task was not refreshed (the Kubernetes API" in capsys.readouterr().err
    assert [thread.name for thread in threading.enumerate() if thread.name == "linnet-repeated"] == []


@pytest.mark.parametrize("is_removed_at_once", [True, False])
def test_files_that_are_removed_while_they_are_fetched_are_made_anew(
    api: KubernetesApi, is_removed_at_once: bool
) -> None:
    """This run's lease was not fresh, because the API was away; whoever removes job and files goes first."""
    api.looks_until_gone = 0
    completes(api)
    left: list[set[str]] = []

    def lose() -> None:
        if api.deletions:
            return
        api.patch(NAME, {"metadata": {"annotations": {REMOVING: ago(1), LEASE + "run-0": ago(1)}}})
        if is_removed_at_once:
            api.delete(NAME)
        else:
            api.steps = [lambda: None, lambda: left.append(held_by(api)), lambda: api.delete(NAME)]
        api.steps.append(lambda: api.end_job("Complete"))
        raise FileNotFoundError("model")

    files = Files(fetch=lose)
    run(files=files)
    assert files.done == ["publish", "publish", "fetch", "remove"]
    assert left == ([] if is_removed_at_once else [{"run-0"}])
    assert api.count("POST trainjobs") == 2


def test_that_the_job_is_used_is_told_at_the_begin_and_when_it_is_complete(api: KubernetesApi) -> None:
    maker, follower, late = Files(), Files(), Files()
    body = manifest_of(S3)
    body["metadata"]["annotations"][LEASE + "run-0"] = ago(10)
    api.create(body)
    completes(api)
    run(files=follower)
    assert follower.told == [False, False]
    run(files=late)
    assert late.told == [False]
    api.jobs.clear()
    completes(api)
    run(files=maker)
    assert maker.told == [True, False]


def test_telling_who_uses_the_job_takes_no_longer_than_it_may(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linnet.launch.job.USE_SECONDS", 0.01)
    answered, files = threading.Event(), Files()
    completes(api)
    files.on_told = answered.wait
    run(files=files)
    answered.set()
    assert files.done == ["publish", "fetch", "remove"]
