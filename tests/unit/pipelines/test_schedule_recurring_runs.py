from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from pipelines import schedule
from support.kfp_api import IMAGE, Json, KfpApi, as_people_start_it, running_kfp_api, status_of, use_test_environment
from support.tiny import ROOT

ENTRY: dict[str, Any] = {
    "name": "weekly",
    "recipe": "recipes/birds-demo.toml",
    "source": "s3://birds/raw",
    "cron": "0 0 3 * * 0",
    "num_nodes": 2,
    "overrides": "train.seed=1",
    "only_if_changed": True,
    "enabled": True,
}
CHANGES_OF_A_REPLACEMENT = 4  # create, disable, enable, delete


class Cluster:
    """A server and a schedule file, and the command between them."""

    def __init__(self, api: KfpApi, folder: Path) -> None:
        self.api, self.file, self.folder = api, folder / "schedule.toml", folder

    def write(self, *entries: dict[str, Any]) -> None:
        self.file.write_text(tomlkit.dumps({"schedule": list(entries)}))

    def run(self, *options: str) -> int:
        return status_of(schedule.app, "--file", str(self.file), *options)

    def schedules(self, *entries: dict[str, Any]) -> None:
        """Write, run, and forget the requests that took."""
        self.write(*entries)
        assert self.run() == 0
        self.api.requests.clear()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    use_test_environment(monkeypatch, tmp_path)
    monkeypatch.chdir(ROOT)
    with running_kfp_api() as api:
        monkeypatch.setenv("KFP_HOST", api.url)
        yield Cluster(api, tmp_path)


def actions(printed: str) -> dict[str, str]:
    """The table: name to action."""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if line.startswith("│")]
    return {name: action for name, action, _ in rows}


def test_creates_what_the_file_says(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.write(ENTRY)
    assert cluster.run() == 0

    (run,) = cluster.api.recurring_runs
    assert run["display_name"] == "weekly"
    assert run["mode"] == "ENABLE"
    assert run["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 0"}}
    assert run["max_concurrency"] == "1"
    assert run["no_catchup"] is True
    assert run["description"].startswith("linnet-schedule weekly ")
    assert run["experiment_id"] == cluster.api.experiments[0]["experiment_id"]
    assert run["runtime_config"]["parameters"] == {
        "recipe": (ROOT / "recipes" / "birds-demo.toml").read_text(),
        "source": "s3://birds/raw",
        "num_nodes": 2,
        "overrides": "train.seed=1",
        "only_if_changed": True,
    }
    container = run["pipeline_spec"]["pipeline_spec"]["deploymentSpec"]["executors"]["exec-train"]["container"]
    assert container["image"] == IMAGE
    assert "platform_spec" in run["pipeline_spec"]
    assert actions(capsys.readouterr().out) == {"weekly": "created"}


def test_repeated_it_changes_nothing(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.schedules(ENTRY, {**ENTRY, "name": "off", "enabled": False})
    capsys.readouterr()
    assert cluster.run() == 0
    assert cluster.api.changes == []
    assert actions(capsys.readouterr().out) == {"weekly": "unchanged", "off": "unchanged"}


@pytest.mark.parametrize(
    "change",
    [{"cron": "0 30 4 * * sun"}, {"source": ""}, {"num_nodes": 1}, {"overrides": ""}, {"only_if_changed": False}],
)
def test_a_changed_entry_replaces(cluster: Cluster, change: Json, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.schedules(ENTRY)
    (old,) = cluster.api.recurring_runs
    capsys.readouterr()

    cluster.write({**ENTRY, **change})
    assert cluster.run() == 0

    (new,) = cluster.api.recurring_runs
    assert new["recurring_run_id"] != old["recurring_run_id"]
    assert new["mode"] == "ENABLE"
    assert new["trigger"]["cron_schedule"]["cron"] == {**ENTRY, **change}["cron"]
    assert len(cluster.api.changes) == CHANGES_OF_A_REPLACEMENT
    assert cluster.api.most_enabled == 1
    assert actions(capsys.readouterr().out) == {"weekly": "replaced"}


def test_a_changed_recipe_or_image_replaces(cluster: Cluster) -> None:
    recipe = cluster.folder / "birds-demo.toml"
    text = (ROOT / "recipes" / "birds-demo.toml").read_text()
    recipe.write_text(text)
    cluster.schedules({**ENTRY, "recipe": str(recipe)})
    recipe.write_text(text.replace("seed = 0", "seed = 1"))
    assert cluster.run() == 0
    assert len(cluster.api.changes) == CHANGES_OF_A_REPLACEMENT
    assert "seed = 1" in cluster.api.recurring_runs[0]["runtime_config"]["parameters"]["recipe"]

    assert cluster.run("--image", IMAGE.replace("a" * 64, "b" * 64)) == 0
    assert len(cluster.api.changes) == 2 * CHANGES_OF_A_REPLACEMENT
    assert len(cluster.api.recurring_runs) == 1


@pytest.mark.parametrize("entries", [(), ({**ENTRY, "enabled": False},)])
def test_what_is_off_or_removed_is_disabled_not_deleted(
    cluster: Cluster, entries: tuple[Json, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.schedules(ENTRY)
    identifier = cluster.api.recurring_runs[0]["recurring_run_id"]
    capsys.readouterr()

    cluster.write(*entries)
    assert cluster.run() == 0

    assert cluster.api.changes == [f"POST /apis/v2beta1/recurringruns/{identifier}:disable"]
    assert cluster.api.recurring_runs[0]["mode"] == "DISABLE"
    assert actions(capsys.readouterr().out) == {"weekly": "disabled"}
    assert cluster.run() == 0
    assert len(cluster.api.changes) == 1


def test_switching_on_again_starts_afresh(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """KFP would make up for the last missed time if the old recurring run were switched on."""
    cluster.schedules(ENTRY)
    old = cluster.api.recurring_runs[0]["recurring_run_id"]
    cluster.schedules({**ENTRY, "enabled": False})
    capsys.readouterr()

    cluster.write(ENTRY)
    assert cluster.run() == 0

    (new,) = cluster.api.recurring_runs
    assert new["mode"] == "ENABLE"
    assert new["recurring_run_id"] != old
    assert not any(f"{old}:enable" in request for request in cluster.api.changes)
    assert actions(capsys.readouterr().out) == {"weekly": "enabled"}


def test_foreign_recurring_runs_are_never_touched(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.schedules(ENTRY)
    (ours,) = cluster.api.recurring_runs
    elsewhere = {**ours, "experiment_id": "another-experiment"}
    copied = {**ours, "display_name": "Clone of weekly"}
    named_alike = {**ours, "description": "mine, called weekly as well", "trigger": {"periodic_schedule": {}}}
    undescribed = {key: value for key, value in ours.items() if key != "description"}
    foreign = [cluster.api.add_recurring_run(body) for body in (elsewhere, copied, named_alike, undescribed)]
    before = [dict(run) for run in foreign]
    capsys.readouterr()

    cluster.write({**ENTRY, "cron": "0 0 4 * * 0"})
    assert cluster.run() == 0
    assert "in other experiments of this namespace: weekly" in capsys.readouterr().err
    cluster.write()
    assert cluster.run() == 0

    assert [run for run in cluster.api.recurring_runs if run in foreign] == before
    assert len(cluster.api.recurring_runs) == len(foreign) + 1


def enabled_now(cluster: Cluster) -> list[str]:
    return [run["trigger"]["cron_schedule"]["cron"] for run in cluster.api.enabled_runs()]


@pytest.mark.parametrize("way", ["changes_until_failure", "lose_answer_of_change"])
@pytest.mark.parametrize("when", range(CHANGES_OF_A_REPLACEMENT))
def test_a_replacement_that_died_in_between_converges(cluster: Cluster, when: int, way: str) -> None:
    cluster.schedules(ENTRY)
    cluster.write({**ENTRY, "cron": "0 0 4 * * 0"})
    setattr(cluster.api, way, when)
    assert cluster.run() == 1
    assert len(enabled_now(cluster)) <= 1
    if when == 0:
        assert enabled_now(cluster) == ["0 0 3 * * 0"]  # the new one was refused: the old one goes on
    setattr(cluster.api, way, -1)

    assert cluster.run() == 0

    assert enabled_now(cluster) == ["0 0 4 * * 0"]
    assert len(cluster.api.recurring_runs) == 1
    assert cluster.api.most_enabled == 1
    cluster.api.requests.clear()
    assert cluster.run() == 0
    assert cluster.api.changes == []


@pytest.mark.parametrize("when", range(3))  # the first is not switched on, the second not made, or not switched on
def test_a_creation_that_died_in_between_converges(
    cluster: Cluster, when: int, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.write(ENTRY, {**ENTRY, "name": "second"})
    cluster.api.changes_until_failure = 2 + when  # experiment, create, enable; create, enable
    assert cluster.run() == 1
    printed = capsys.readouterr()
    assert "the server failed (HTTP 503" in printed.err
    if when > 0:
        assert actions(printed.out) == {"weekly": "created"}  # what was done is printed
    cluster.api.changes_until_failure = -1
    assert cluster.run() == 0
    assert [run["display_name"] for run in cluster.api.recurring_runs] == ["weekly", "second"]
    assert len(cluster.api.enabled_runs()) == 2
    assert cluster.api.most_enabled == 1


def test_two_commands_at_once_are_put_right_by_the_next(cluster: Cluster) -> None:
    cluster.schedules(ENTRY)
    cluster.api.add_recurring_run(cluster.api.recurring_runs[0])
    assert len(cluster.api.enabled_runs()) == 2
    assert cluster.run() == 0
    assert len(cluster.api.recurring_runs) == len(cluster.api.enabled_runs()) == 1


def test_a_dry_run_changes_nothing_and_says_the_same(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.schedules(ENTRY, {**ENTRY, "name": "goes"}, {**ENTRY, "name": "stays"})
    capsys.readouterr()
    cluster.write({**ENTRY, "cron": "0 0 4 * * 0"}, {**ENTRY, "name": "stays"}, {**ENTRY, "name": "new"})

    assert cluster.run("--dry-run") == 0
    assert cluster.api.changes == []
    foreseen = actions(capsys.readouterr().out)
    assert cluster.run() == 0

    assert actions(capsys.readouterr().out) == foreseen
    assert foreseen == {"weekly": "replaced", "stays": "unchanged", "new": "created", "goes": "disabled"}


def test_a_dry_run_on_an_empty_server(cluster: Cluster) -> None:
    cluster.write(ENTRY)
    assert cluster.run("--dry-run") == 0
    assert cluster.api.changes == []
    assert cluster.api.experiments == []


def test_the_shipped_file_is_sound_and_starts_nothing(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LINNET_IMAGE")
    assert status_of(schedule.app) == 0
    assert cluster.api.changes == []
    assert actions(capsys.readouterr().out) == {"birds-demo-weekly": "unchanged"}


def test_the_real_pipeline_compiles_to_the_same_each_time(cluster: Cluster) -> None:
    """Else every call would replace every schedule."""
    cluster.write(ENTRY)
    for seed in ("1", "2"):
        cluster.api.requests.clear()
        arguments = ("pipelines.schedule", "--file", str(cluster.file))
        done = as_people_start_it(*arguments, KFP_HOST=cluster.api.url, PYTHONHASHSEED=seed)
        assert (done.returncode, done.stderr) == (0, "")
    assert cluster.api.changes == []
    assert len(cluster.api.enabled_runs()) == 1


def without(key: str) -> Json:
    return {name: value for name, value in ENTRY.items() if name != key}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({**ENTRY, "cron": "0 3 * * 0"}, "[schedule[1].cron] cron = '0 3 * * 0': KFP's cron has six fields"),
        ({**ENTRY, "recipe": "recipes/nothing.toml"}, "recipes/nothing.toml: cannot be read"),
        (
            without("only_if_changed"),
            "key 'only_if_changed' is missing in [schedule[1]]; add it (a schedule has no defaults)",
        ),
        ({**ENTRY, "crom": ""}, "unknown key 'crom' in [schedule[1]]; did you mean 'cron'?"),
        ({**ENTRY, "num_nodes": 0}, "num_nodes = 0 in [schedule[1]]: it should be greater than 0"),
        ({**ENTRY, "enabled": "yes"}, "enabled = 'yes' in [schedule[1]]: it should be a valid boolean"),
        ({**ENTRY, "source": "/data/birds"}, "a path on this machine"),
        ({**ENTRY, "overrides": "train.seed='1"}, "no closing quotation; separate them by spaces"),
    ],
)
def test_mistakes_never_reach_the_cluster(
    cluster: Cluster, entry: Json, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.write({**ENTRY, "name": "good"}, entry)
    assert cluster.run() == 2
    assert message in capsys.readouterr().err
    assert cluster.api.requests == []


def test_a_name_given_twice_a_broken_file_and_none(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.write(ENTRY, ENTRY)
    assert cluster.run() == 2
    assert "'weekly' is given twice" in capsys.readouterr().err
    cluster.file.write_text("[[schedule]")
    assert cluster.run() == 2
    assert "is not valid TOML" in capsys.readouterr().err
    cluster.file.unlink()
    assert cluster.run() == 2
    assert "give the schedule with --file" in capsys.readouterr().err
    assert cluster.api.requests == []


def test_an_image_without_digest_is_refused(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.write(ENTRY)
    assert cluster.run("--image", "registry.example/linnet:v1") == 1
    assert "by digest" in capsys.readouterr().err
    assert cluster.api.requests == []


def test_cron_is_checked_by_the_server(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.schedules(ENTRY)
    capsys.readouterr()
    cluster.write({**ENTRY, "cron": "0 60 3 * * 0"})
    assert cluster.run() == 1
    error = capsys.readouterr().err
    assert "refuses this (HTTP 400: Invalid input error: Schedule cron is not a supported format" in error
    assert len(error.splitlines()) == 1
    assert enabled_now(cluster) == ["0 0 3 * * 0"], "the old one goes on"


@pytest.mark.parametrize("text", ["@weekly", "0 3 * * 0", "0 0 3 * * 0 2026", "* 0 3 * * 0", "0-5 0 3 * * 0"])
def test_cron_that_kfp_would_misread_never_reaches_it(
    cluster: Cluster, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """KFP takes five fields too, seconds first, and starts several runs a minute if the seconds are a star."""
    cluster.write({**ENTRY, "cron": text})
    assert cluster.run() == 2
    assert f"cron = '{text}': KFP's cron has six fields, and the first is one second" in capsys.readouterr().err
    assert cluster.api.requests == []
