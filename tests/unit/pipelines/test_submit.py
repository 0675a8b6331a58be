import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from linnet.recipe.load import parse_recipe
from linnet.tasks.request import requested_recipe
from pipelines import connection as to
from pipelines import submit
from pipelines.connection import NoAnswerError
from support.kfp_api import IMAGE, KfpApi, Refusal, as_people_start_it, running_kfp_api, status_of, use_test_environment
from support.tiny import ROOT

RECIPE = str(ROOT / "recipes" / "birds-demo.toml")
TOKEN = "a-secret-token.with.dots"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpApi]:
    use_test_environment(monkeypatch, tmp_path)
    monkeypatch.setattr(submit, "SECONDS_BETWEEN_LOOKS", 0.01)
    with running_kfp_api() as server:
        monkeypatch.setenv("KFP_HOST", server.url)
        yield server


def test_submits_the_recipe_as_it_is(api: KfpApi, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--source", "s3://birds/raw", "--num-nodes", "2", "--only-if-changed")

    assert status_of(submit.app, RECIPE, *options) == 0

    (run,) = api.runs
    assert run["runtime_config"]["parameters"] == {
        "recipe": Path(RECIPE).read_text(),
        "overrides": "",
        "source": "s3://birds/raw",
        "num_nodes": 2,
        "only_if_changed": True,
    }
    spec = run["pipeline_spec"]
    assert spec["pipeline_spec"]["deploymentSpec"]["executors"]["exec-train"]["container"]["image"] == IMAGE
    assert "nodeSelector" in str(spec["platform_spec"])
    (experiment,) = api.experiments
    assert experiment["display_name"] == "linnet"
    assert run["experiment_id"] == experiment["experiment_id"]
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        f"name  {run['display_name']}",
        f"id    {run['run_id']}",
        f"link  http://127.0.0.1:8080/#/runs/details/{run['run_id']} after `kubectl -n kubeflow port-forward "
        "svc/ml-pipeline-ui 8080:80` (or set KF_PIPELINES_UI_ENDPOINT)",
    ]
    assert run["display_name"].startswith("birds-demo 2")


def test_numbers_not_given_are_left_to_the_pipeline(api: KfpApi) -> None:
    assert status_of(submit.app, RECIPE) == 0
    parameters = api.runs[0]["runtime_config"]["parameters"]
    assert {**parameters, "recipe": ""} == {"recipe": "", "overrides": "", "source": "", "only_if_changed": False}


@pytest.mark.parametrize("endpoint", ["", "https://kubeflow.example/pipeline"])
def test_the_link_leads_to_a_page(
    api: KfpApi, endpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api.has_pages = True
    monkeypatch.setenv(to.UI_VARIABLE, endpoint)
    assert status_of(submit.app, RECIPE) == 0
    assert f"link  {endpoint or api.url}/#/runs/details/run-" in capsys.readouterr().out


def test_a_recipe_of_the_image_goes_by_its_name(api: KfpApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert status_of(submit.app, "birds-demo", "--set", "train.seed=1") == 0
    (run,) = api.runs
    parameters = run["runtime_config"]["parameters"]
    assert (parameters["recipe"], parameters["overrides"]) == ("birds-demo", "train.seed=1")
    assert run["display_name"].startswith("birds-demo train.seed=1 2")
    assert status_of(submit.app, "birds-demo", "--set", "train.sede=1") == 2
    assert status_of(submit.app, "birds-dmeo") == 2
    assert len(api.runs) == 1


def test_overrides_stand_beside_the_recipe(api: KfpApi) -> None:
    """So that runs compare on one line; what the cluster's task reads of them is what was meant."""
    sampler = "sample.sampler={ kind = 'ddim', num_steps = 8, eta = 0.0, spacing = 'trailing' }"
    assert status_of(submit.app, RECIPE, "--set", "train.batch_size=8", "--set", sampler) == 0
    parameters = api.runs[0]["runtime_config"]["parameters"]
    assert parameters["recipe"] == Path(RECIPE).read_text()
    assert parameters["overrides"].startswith("train.batch_size=8 ")
    expected = parse_recipe(Path(RECIPE).read_text(), where=RECIPE, overrides=("train.batch_size=8", sampler))
    assert requested_recipe(parameters["recipe"], parameters["overrides"]) == expected


@pytest.mark.parametrize(
    "source",
    ["synthetic", "caltech", "s3://birds/raw/", "hf:owner/birds@v1#small:train", "dvc:https://git.example/birds@v1"],
)
def test_what_a_pod_can_reach_is_a_source(api: KfpApi, source: str) -> None:
    assert status_of(submit.app, RECIPE, "--source", source) == 0
    assert api.runs[0]["runtime_config"]["parameters"]["source"] == source


@pytest.mark.parametrize(
    "arguments",
    [(RECIPE, "--set", "train.batch_sise=8"), ("recipes/nothing.toml",), (RECIPE, "--source", "/data/birds")],
)
def test_mistakes_never_reach_the_cluster(
    api: KfpApi, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(submit.app, *arguments) == 2
    assert api.requests == []
    assert capsys.readouterr().err.startswith("linnet: ")


@pytest.mark.parametrize("image", ["", "registry.example/linnet", "registry.example/linnet:v1", "linnet@sha256:abc"])
def test_an_image_without_digest_is_refused(api: KfpApi, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(submit.app, RECIPE, "--image", image) == 1
    assert "make image PUSH=registry/linnet" in capsys.readouterr().err
    assert api.requests == []


@pytest.mark.parametrize("variable", ["KFP_TOKEN", "MY_TOKEN"])
def test_the_token_comes_from_the_environment(
    api: KfpApi, variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api.token = TOKEN
    monkeypatch.setenv(variable, f"{TOKEN}\n")
    assert status_of(submit.app, RECIPE, "--token-env", variable) == 0
    assert len(api.runs) == 1
    assert TOKEN not in "".join(capsys.readouterr())


def test_in_a_pod_the_token_comes_from_its_file(api: KfpApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api.token = TOKEN
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    assert status_of(submit.app, RECIPE) == 0
    assert len(api.runs) == 1


@pytest.mark.parametrize(
    ("token", "message"), [("wrong-secret", "does not accept the token"), ("", "asks for a token")]
)
def test_a_wrong_token_is_one_sentence(
    api: KfpApi, token: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api.token = TOKEN
    monkeypatch.setenv("KFP_TOKEN", token)
    assert status_of(submit.app, RECIPE) == 1
    printed = capsys.readouterr()
    assert message in printed.err
    assert "kubectl create token" in printed.err
    assert len(printed.err.splitlines()) == 1
    assert "wrong-secret" not in printed.err + printed.out
    assert api.requests == ["GET /apis/v2beta1/healthz"]


def test_a_token_repeated_by_the_server_is_not_printed(
    api: KfpApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api.refusal = Refusal(400, f"bad header 'Bearer {TOKEN}'")
    monkeypatch.setenv("KFP_TOKEN", TOKEN)
    assert status_of(submit.app, RECIPE) == 1
    printed = "".join(capsys.readouterr())
    assert "bad header 'Bearer ***'" in printed
    assert TOKEN not in printed


@pytest.mark.parametrize("option", [f"{TOKEN}", "A" * 900, "NO_SUCH_VARIABLE"])
def test_token_env_is_a_name(api: KfpApi, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(submit.app, RECIPE, "--token-env", option) == 1
    error = capsys.readouterr().err
    assert "--token-env" in error
    assert option not in error or option == "NO_SUCH_VARIABLE"
    assert api.requests == []


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("http://127.0.0.1:9", "nothing listens there"),
        ("https://127.0.0.1:{port}", "TLS"),
        ("http://no-such-host.invalid", "no such name"),
        ("127.0.0.1:8888", "starts with http:// or https://"),
        ("", "KFP_HOST"),
        ("http://bird:secret@127.0.0.1:{port}", "leave name and password out"),
        ("http://127.0.0.1:{port}/wrong", "is no KFP API"),
    ],
)
def test_a_wrong_address_is_one_sentence(
    api: KfpApi, host: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    assert status_of(submit.app, RECIPE, "--host", host.format(port=api.url.rpartition(":")[2])) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "secret" not in error
    assert len(error.splitlines()) == 1
    assert time.monotonic() - started < 15
    assert api.changes == []


def test_a_server_that_never_answers(
    api: KfpApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert to.CONNECT_SECONDS + to.ANSWER_SECONDS <= 15
    monkeypatch.setattr(to, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        assert status_of(submit.app, RECIPE, "--host", f"http://127.0.0.1:{deaf.getsockname()[1]}") == 1
    assert "no answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "message"), [("redirect", "sends you elsewhere (HTTP 302)"), ("html", "a login page?")]
)
def test_a_login_page_is_not_taken_for_an_answer(
    api: KfpApi, kind: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    api.login_page = kind
    assert status_of(submit.app, RECIPE) == 1
    assert message in capsys.readouterr().err
    assert api.changes == []


@pytest.mark.parametrize(
    ("namespace", "message"),
    [((), "--namespace or KFP_NAMESPACE"), (("--namespace", "team-b"), "team-b (HTTP 403: User")],
)
def test_namespaces_of_a_shared_server(
    api: KfpApi, namespace: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    api.multi_user = True
    assert status_of(submit.app, RECIPE, *namespace) == 1
    assert message in capsys.readouterr().err
    assert api.runs == []


def test_the_namespace_reaches_the_experiment(api: KfpApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api.multi_user = True
    monkeypatch.setenv("KFP_NAMESPACE", "team-a")
    assert status_of(submit.app, RECIPE, "--experiment", "birds") == 0
    assert [(each["display_name"], each["namespace"]) for each in api.experiments] == [("birds", "team-a")]


def test_a_run_is_never_submitted_twice(api: KfpApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.lose_answer_of_change = 1  # after the experiment: the run was made, nobody heard of it
    assert status_of(submit.app, RECIPE) == 1
    assert len(api.runs) == 1
    assert "look in the UI" in capsys.readouterr().err


def test_waits_for_success(api: KfpApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.run_states = ["PENDING", "RUNNING", "RUNNING", "SUCCEEDED"]
    assert status_of(submit.app, RECIPE, "--wait") == 0
    message = capsys.readouterr().err.splitlines()
    assert message == ["the run is PENDING", "the run is RUNNING", "the run is SUCCEEDED"]


@pytest.mark.parametrize(("end", "message"), [("FAILED", "FAILED in train"), ("CANCELED", "CANCELED")])
def test_a_run_that_does_not_succeed(api: KfpApi, end: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    api.run_states = ["RUNNING", end]
    assert status_of(submit.app, RECIPE, "--wait") == 1
    error = capsys.readouterr().err
    assert f"the run ended as {message}; why is in the artifact `outcome` of its task Close: " in error
    assert f"/#/runs/details/{api.runs[0]['run_id']}" in error


def test_following_survives_a_server_that_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "SECONDS_BETWEEN_LOOKS", 0.0)
    answers = iter(["RUNNING", None, None, "SUCCEEDED"])

    def look() -> SimpleNamespace:
        if (state := next(answers)) is None:
            raise NoAnswerError("away")
        return SimpleNamespace(state=state)

    assert submit.follow(look).state == "SUCCEEDED"


def test_following_ends_when_the_server_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr(submit, "PATIENCE_SECONDS", 0.05)

    def look() -> SimpleNamespace:
        raise NoAnswerError("away")

    with pytest.raises(NoAnswerError):
        submit.follow(look)


def test_as_people_start_it() -> None:
    """With the real pipeline: no traceback, no warnings, nothing but the three lines."""
    with running_kfp_api() as api:
        api.token = TOKEN
        done = as_people_start_it("pipelines.submit", RECIPE, "--wait", KFP_HOST=api.url, KFP_TOKEN=TOKEN)
    assert (done.returncode, done.stderr) == (0, "the run is SUCCEEDED\n")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["name", "id", "link"]
    (run,) = api.runs
    spec = run["pipeline_spec"]["pipeline_spec"]
    assert spec["pipelineInfo"]["name"] == "linnet-training"
    assert set(run["runtime_config"]["parameters"]) <= set(spec["root"]["inputDefinitions"]["parameters"])
    images = {executor["container"]["image"] for executor in spec["deploymentSpec"]["executors"].values()}
    assert images == {IMAGE}


def test_a_mistake_as_people_see_it() -> None:
    done = as_people_start_it("pipelines.submit", "recipes/nothing.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert [line[:36] for line in done.stderr.splitlines()] == ["linnet: recipes/nothing.toml: cannot"]
