"""`make cluster-check` against a cluster that is whole, lacks one thing, hides one, or does not answer."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.cluster_check.__main__ import app
from pipelines.cluster_check.questions import ask_all
from pipelines.cluster_check.row import Row
from pipelines.clusters.profile import load_cluster
from pipelines.connection import TOKEN_VARIABLE
from support.cluster_api import (
    ARGO,
    CORE,
    ENDPOINTS,
    REVIEWS,
    RUNTIME,
    SECRET_VALUE,
    TRAINER,
    TRAINJOBS,
    ClusterApi,
    retries,
    running_cluster,
)
from support.kfp_api import KfpApi, as_people_start_it, running_kfp_api, status_of, use_test_environment
from support.tiny import ROOT

COMPONENTS = [
    *("Kubernetes", "Kubeflow Pipelines", "Argo's retries", "namespace", "Trainer", "training runtime"),
    *("TrainJob (dry run)", "rights of tasks"),
    *(f"size {name}" for name in ("cpu-small", "cpu-large", "sample", "gpu", "train")),
    *("image", "ConfigMap linnet", "LINNET_WORK", "MLflow"),
    *("secret linnet-s3", "secret linnet-mlflow", "secret linnet-huggingface"),
]


@pytest.fixture
def kfp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpApi]:
    use_test_environment(monkeypatch, tmp_path)
    with running_kfp_api() as server:
        server.multi_user, server.namespaces = True, ["linnet"]
        monkeypatch.setenv("KFP_HOST", server.url)
        yield server


@pytest.fixture
def cluster(kfp: KfpApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClusterApi]:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with running_cluster() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.write_kubeconfig(tmp_path / "kubeconfig")))
        monkeypatch.setenv("LINNET_IMAGE", server.image)
        monkeypatch.setenv("LINNET_CLUSTER", "cpu-small")
        yield server


def ask(cluster: ClusterApi, kfp: KfpApi | None) -> list[Row]:
    return list(
        ask_all(
            load_cluster("cpu-small"),
            image=cluster.image,
            host=kfp.url if kfp else "",
            namespace="",
            token_env=TOKEN_VARIABLE,
            kfp_namespace="kubeflow",
            service_account="",
        )
    )


def rows(cluster: ClusterApi, kfp: KfpApi) -> dict[str, Row]:
    found = ask(cluster, kfp)
    assert len({row.component for row in found}) == len(found)
    return {row.component: row for row in found}


def test_a_whole_cluster_passes(cluster: ClusterApi, kfp: KfpApi, capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(cluster, kfp)
    assert list(found) == COMPONENTS
    assert {row.component: row.found for row in found.values() if row.verdict != "ok"} == {}
    assert status_of(app) == 0
    printed = capsys.readouterr().out
    assert "20 ok" in printed
    assert "missing" not in printed


def test_nothing_is_changed(cluster: ClusterApi, kfp: KfpApi) -> None:
    """Whatever is asked is a reading, a dry run, or an access review; of a cluster that has all, and of others."""
    rows(cluster, kfp)
    for path in list(cluster.objects):
        del cluster.objects[path]
        rows(cluster, kfp)
    asked = [re.split(r"[ ?]", request, maxsplit=2) for request in set(cluster.requests)]
    assert {method for method, *_ in asked} == {"GET", "HEAD", "POST"}
    posts = {(path, "".join(query)) for method, path, *query in asked if method == "POST"}
    assert posts == {(TRAINJOBS, "dryRun=All"), (REVIEWS, "")}
    assert {body["kind"] for body in cluster.bodies if body} == {"TrainJob", "SubjectAccessReview"}
    assert kfp.changes == []


def test_no_secret_is_printed(cluster: ClusterApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(app) == 0
    assert SECRET_VALUE not in "".join(capsys.readouterr())


LACKS: dict[str, tuple[Callable[[ClusterApi], object], str, str]] = {
    "namespace": (lambda it: it.objects.pop("/api/v1/namespaces/linnet"), "namespace", "there is no linnet"),
    "Trainer": (lambda it: it.objects.pop(TRAINER), "Trainer", r"knows no trainjobs\.trainer"),
    "an old Trainer": (lambda it: it.objects.update({TRAINER: {"resources": []}}), "Trainer", "knows no trainjobs"),
    "runtime": (lambda it: it.objects.pop(RUNTIME), "training runtime", "no TrainingRuntime linnet in linnet"),
    "a job": (lambda it: setattr(it, "webhook", "no such field"), "TrainJob (dry run)", "refused: .*no such field"),
    "a right": (lambda it: it.denied_rights.add("list pods"), "rights of tasks", "pipeline-runner may not list pods"),
    "logs": (lambda it: it.denied_rights.add("get pods/log"), "rights of tasks", "may not get pods/log"),
    "ConfigMap": (lambda it: it.objects.pop(f"{CORE}/configmaps/linnet"), "ConfigMap linnet", "not in linnet"),
    "a key": (
        lambda it: it.objects[f"{CORE}/configmaps/linnet"]["data"].pop("LINNET_WORK"),
        "ConfigMap linnet",
        "lacks LINNET_WORK",
    ),
    "a secret's key": (
        lambda it: it.objects[f"{CORE}/secrets/linnet-s3"]["data"].pop("AWS_ACCESS_KEY_ID"),
        "secret linnet-s3",
        "lacks the key AWS_ACCESS_KEY_ID",
    ),
    "bucket": (lambda it: it.objects.pop("/birds"), "LINNET_WORK", "has no bucket birds"),
    "MLflow's pod": (
        lambda it: it.objects[ENDPOINTS]["items"][0]["endpoints"][0].update(conditions={"ready": False}),
        "MLflow",
        "no pod that is ready behind linnet-mlflow in linnet",
    ),
    "image": (lambda it: setattr(it, "registry", "empty"), "image", "has no linnet@sha256:a"),
    "node": (lambda it: it.objects["/api/v1/nodes"]["items"].clear(), "size train", "no node takes such a pod"),
}


@pytest.mark.parametrize("lack", LACKS)
def test_what_is_missing_is_named_with_its_remedy(
    cluster: ClusterApi, kfp: KfpApi, lack: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, component, words = LACKS[lack]
    change(cluster)
    row = rows(cluster, kfp)[component]
    assert row.verdict == "missing"
    assert re.search(words, row.found), row.found
    assert row.remedy
    assert status_of(app) == 1
    assert "missing" in capsys.readouterr().out


ADVICE: dict[str, tuple[Callable[[ClusterApi], object], str, str]] = {
    "stock Argo": (
        lambda it: it.objects.update({ARGO: retries("OnError", "2")}),
        "Argo's retries",
        r"OnError: a task whose container fails .* ends the run at once",
    ),
    "Always on each layer": (
        lambda it: it.objects.update({ARGO: retries("Always", "2")}),
        "Argo's retries",
        "limit 2: each layer",
    ),
    "older Argo": (
        lambda it: it.objects.update({ARGO: {"data": {}}}),
        "Argo's retries",
        "none, so OnFailure: .*deleted",
    ),
    "older Argo, one key": (
        lambda it: it.objects.update({ARGO: {"data": {"config": retries("OnError", "2")["data"]["workflowDefaults"]}}}),
        "Argo's retries",
        "none, so OnFailure",
    ),
    "secret": (lambda it: it.objects.pop(f"{CORE}/secrets/linnet-mlflow"), "secret linnet-mlflow", "start without it"),
    "endpoint": (
        lambda it: it.objects[f"{CORE}/configmaps/linnet"]["data"].pop("AWS_DEFAULT_REGION"),
        "ConfigMap linnet",
        "lacks AWS_DEFAULT_REGION: Amazon's own",
    ),
}


@pytest.mark.parametrize("case", ADVICE)
def test_what_only_loses_something_is_no_failure(cluster: ClusterApi, kfp: KfpApi, case: str) -> None:
    change, component, words = ADVICE[case]
    change(cluster)
    row = rows(cluster, kfp)[component]
    assert row.verdict == "advice"
    assert re.search(words, row.found), row.found
    assert row.remedy
    assert status_of(app) == 0


def test_the_patch_for_argo_is_named_where_it_helps(cluster: ClusterApi, kfp: KfpApi) -> None:
    cluster.objects[ARGO] = retries("OnError", "2")
    remedy = rows(cluster, kfp)["Argo's retries"].remedy
    (file,) = re.findall(r"--patch-file (\S+)", remedy)
    assert (ROOT / file).is_file()


HIDDEN = {
    ARGO: "Argo's retries",
    "/api/v1/namespaces/linnet": "namespace",
    RUNTIME: "Trainer",
    TRAINJOBS: "Trainer",
    REVIEWS: "rights of tasks",
    "/api/v1/nodes": "sizes",
    f"{CORE}/configmaps/linnet": "ConfigMap",
    f"{CORE}/secrets/linnet-s3": "secrets",
    ENDPOINTS: "MLflow",
}


@pytest.mark.parametrize("path", HIDDEN)
def test_what_one_may_not_see_is_not_known(cluster: ClusterApi, path: str) -> None:
    cluster.forbidden.add(path)
    found = [row for row in ask(cluster, None) if row.verdict == "not known"]
    (row,) = [row for row in found if row.component == HIDDEN[path]]
    assert row.found.startswith("not known: forbidden (")
    assert row.remedy
    assert status_of(app, "--host", "") == 0


@pytest.mark.parametrize(
    ("change", "component", "words"),
    [
        ({"version": "2.16.1"}, "Kubeflow Pipelines", "version 2.16.1"),
        ({"token": "secret"}, "Kubeflow Pipelines", "asks for a token"),
        ({"multi_user": False}, "namespace", "the profile says linnet, and .* runs tasks in its own, kubeflow"),
    ],
)
def test_kubeflow_pipelines_has_to_fit(
    cluster: ClusterApi, kfp: KfpApi, change: dict[str, object], component: str, words: str
) -> None:
    vars(kfp).update(change)
    row = rows(cluster, kfp)[component]
    assert row.verdict == "missing"
    assert re.search(words, row.found), row.found
    assert row.remedy


def test_the_version_is_also_that_of_the_image(cluster: ClusterApi, kfp: KfpApi) -> None:
    assert "version 2.17.0" in rows(cluster, kfp)["Kubeflow Pipelines"].found
    kfp.version = ""
    assert "version not known" in rows(cluster, kfp)["Kubeflow Pipelines"].found
    pod = {"containers": [{"image": "ghcr.io/kubeflow/kfp-api-server:2.17.3@sha256:0"}]}
    deployment = "/apis/apps/v1/namespaces/kubeflow/deployments/ml-pipeline"
    cluster.objects[deployment] = {"spec": {"template": {"spec": pod}}}
    assert "version 2.17.3" in rows(cluster, kfp)["Kubeflow Pipelines"].found
    cluster.forbidden.add(deployment)
    assert rows(cluster, kfp)["Kubeflow Pipelines"].verdict == "ok"


def test_a_server_that_knows_us_no_longer_is_one_row(
    cluster: ClusterApi, kfp: KfpApi, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.status = 401
    found = rows(cluster, kfp)
    assert found["Kubernetes"].verdict == "missing"
    assert "it may have expired" in found["Kubernetes"].found
    assert found["sizes"].found.startswith("not asked: the login is not accepted")
    assert len([request for request in cluster.requests if "/v2/" not in request]) == 1
    assert status_of(app) == 1
    assert "Traceback" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("content", ["", "a: [", "apiVersion: v1", '{"current-context": "x", "contexts": []}', "\0"])
def test_an_unusable_kubeconfig_is_a_row(cluster: ClusterApi, kfp: KfpApi, content: str, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(content)
    found = rows(cluster, kfp)
    assert found["Kubernetes"].found.startswith("the kubeconfig cannot be used (")
    assert "name another file in KUBECONFIG" in found["sizes"].remedy
    assert status_of(app) == 0


def test_a_server_that_is_gone_is_a_row(kfp: KfpApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with running_cluster() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.write_kubeconfig(tmp_path / "kubeconfig")))
    found = rows(server, kfp)
    assert (found["Kubernetes"].verdict, "does not answer" in found["Kubernetes"].found) == ("missing", True)
    assert found["image"].verdict == "not known"
    assert found["image"].found.startswith("not known: http://127.0.0.1 does not answer here")


def test_without_addresses_nothing_is_asked(tmp_path: Path) -> None:
    """As people start it: no traceback, and the remedies."""
    done = as_people_start_it(
        "pipelines.cluster_check", "--cluster", "cpu-small", KUBECONFIG="", HOME=str(tmp_path), LINNET_IMAGE=""
    )
    assert done.returncode == 0, done.stderr
    assert "not asked: no KFP_HOST" in done.stdout
    assert "not asked: no kubeconfig" in done.stdout
    assert "port-forward" in done.stdout
    assert done.stderr == ""
    done = as_people_start_it("pipelines.cluster_check", LINNET_CLUSTER="none")
    assert done.returncode == 2
    assert done.stderr.startswith("linnet: ")
    assert "LINNET_CLUSTER as one of" in done.stderr


def test_help_teaches() -> None:
    done = as_people_start_it("pipelines.cluster_check", "--help", LINNET_CLUSTER="none")
    text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", done.stdout).split())
    assert done.returncode == 0
    assert "Nothing is changed" in text
    assert "exit status 1" in text


def test_the_dry_run_is_the_job_that_train_makes(cluster: ClusterApi, kfp: KfpApi) -> None:
    rows(cluster, kfp)
    (job,) = [body for body in cluster.bodies if body.get("kind") == "TrainJob"]
    assert job["metadata"]["namespace"] == "linnet"
    assert job["spec"]["trainer"]["resourcesPerNode"]["requests"]["cpu"] == "700m"
    json.dumps(job)


def test_rights_are_asked_for_the_account_of_tasks(cluster: ClusterApi, kfp: KfpApi) -> None:
    cluster.objects[f"{CORE}/serviceaccounts/default-editor"] = {}
    rows(cluster, kfp)
    specs = [body["spec"] for body in cluster.bodies if body.get("kind") == "SubjectAccessReview"]
    assert {spec["user"] for spec in specs} == {"system:serviceaccount:linnet:default-editor"}
    asked = {(spec["resourceAttributes"]["verb"], spec["resourceAttributes"]["resource"]) for spec in specs}
    assert {("create", "trainjobs"), ("delete", "trainjobs"), ("get", "trainjobs"), ("list", "pods")} <= asked


@pytest.mark.parametrize(("registry", "verdict"), [("open", "ok"), ("token", "ok"), ("login", "not known")])
def test_an_image_that_needs_a_login_is_not_known(
    cluster: ClusterApi, kfp: KfpApi, registry: str, verdict: str
) -> None:
    cluster.registry = registry
    assert rows(cluster, kfp)["image"].verdict == verdict
