"""The DAG as engines get it: what Kubeflow Pipelines, Argo and its cache do to it (ADR 19 says how that is known)."""

import re
from collections import Counter

import pytest

from support.dag import IMAGE, PROFILES, Json, all_tasks, compiled, component_of, is_layer, pods, seconds

TASKS = {"look", "ingest", "preprocess", "train", "sample", "restore", "evaluate", "gate", "close"}
NEVER_CACHED = {"look", "gate", "close"}
MOST_PODS, MOST_PODS_UNCHANGED = 24, 8
LONGEST_NAME = 18  # letters that Kubeflow's page shows


@pytest.fixture(params=PROFILES)
def cluster(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def spec(cluster: str) -> Json:
    return compiled(cluster)[0]


@pytest.fixture
def executors(cluster: str) -> Json:
    return compiled(cluster)[1]


def leaves(spec: Json) -> dict[str, Json]:
    return {name: task for name, task in all_tasks(spec) if not is_layer(spec, task)}


def test_the_tasks_are_the_stages(spec: Json) -> None:
    assert leaves(spec).keys() == TASKS


# --- pods -------------------------------------------------------------------------------------------------------------


def test_a_run_is_few_pods(spec: Json) -> None:
    assert pods(spec, executed=TASKS) <= MOST_PODS
    assert pods(spec, executed={"look", "close"}) <= MOST_PODS_UNCHANGED


def test_the_counting_of_pods_knows_layers() -> None:
    """By hand: root, its exit handler's layer, `a` and `z` executed, `b` cached, a condition that does not hold."""
    leaf: Json = {"componentRef": {"name": "leaf"}}
    condition = {"componentRef": {"name": "condition"}, "triggerPolicy": {"condition": "..."}}
    spec = {
        "root": {"dag": {"tasks": {"layer": {"componentRef": {"name": "layer"}}, "z": leaf}}},
        "components": {
            "leaf": {"executorLabel": "x"},
            "layer": {"dag": {"tasks": {"a": leaf, "b": leaf, "rest": condition}}},
            "condition": {"dag": {"tasks": {"c": leaf}}},
        },
    }
    assert pods(spec, executed={"a", "z"}) == 1 + 1 + 2 + 1 + 1 + 2
    assert pods(spec, executed={"a", "c", "z"}) == 1 + 1 + 2 + 1 + (1 + 2) + 2


# --- the cache --------------------------------------------------------------------------------------------------------


def test_everything_between_look_and_gate_is_cached(spec: Json) -> None:
    cached = {name for name, task in leaves(spec).items() if task.get("cachingOptions", {}).get("enableCache")}
    assert cached == TASKS - NEVER_CACHED


def test_a_cached_task_depends_on_nothing_that_changes_without_its_content(spec: Json) -> None:
    """The key holds parameters, and ids of artifacts: an id stays only if the task that made it was cached, too."""
    for name, task in leaves(spec).items():
        if name in NEVER_CACHED:
            continue
        inputs = task.get("inputs", {})
        for artifact in inputs.get("artifacts", {}).values():
            assert artifact["taskOutputArtifact"]["producerTask"] not in NEVER_CACHED, name
        for parameter in inputs.get("parameters", {}).values():
            found = re.search(r"pipelinechannel--look-(\w+)", str(parameter))
            assert found is None or found[1] in ("recipe", "training", "data", "fingerprint", "weights_hash"), name


def test_a_cached_task_has_a_hash_beside_each_data_artifact(spec: Json) -> None:
    """KFP's cache key does not look into artifacts."""
    for name, task in leaves(spec).items():
        inputs = task.get("inputs", {})
        assert {f"{artifact}_hash" for artifact in inputs.get("artifacts", {})} <= inputs.get(
            "parameters", {}
        ).keys(), name


def test_a_task_depends_on_no_more_of_the_recipe_than_decides_it(spec: Json) -> None:
    of_task = {
        name: {
            found[1]
            for parameter in task.get("inputs", {}).get("parameters", {}).values()
            if (found := re.search(r"pipelinechannel--look-(recipe|training|data)\b", str(parameter)))
        }
        for name, task in leaves(spec).items()
    }
    assert of_task["ingest"] == of_task["preprocess"] == {"data"}
    assert of_task["train"] == {"training"}


def test_what_a_pod_gets_is_no_input(spec: Json) -> None:
    for name, task in leaves(spec).items():
        assert not [key for key in task.get("inputs", {}).get("parameters", {}) if re.search("cpu|memory|gpu", key)], (
            name
        )
    for executor in spec["deploymentSpec"]["executors"].values():
        assert "pipelinechannel" not in str(executor["container"]["resources"])


# --- retries ----------------------------------------------------------------------------------------------------------


def test_no_retry_is_killed_by_its_own_longest_duration(spec: Json, executors: Json) -> None:
    """Argo counts maxDuration from the start of the first try, and ends a healthy later one with it."""
    for name, task in leaves(spec).items():
        retry, longest_try = task["retryPolicy"], executors[f"exec-{name}"]["activeDeadlineSeconds"]
        count, wait = retry["maxRetryCount"], seconds(retry["backoffDuration"])
        waits = sum(wait * retry["backoffFactor"] ** number for number in range(count))
        assert count >= 1
        assert seconds(retry["backoffMaxDuration"]) >= (count + 1) * int(longest_try) + waits, name


def test_the_first_and_the_last_task_end_soon_where_they_never_start(executors: Json) -> None:
    """A pod whose image cannot be pulled waits until then, and `close` follows it."""
    minutes = {name: int(executors[f"exec-{name}"]["activeDeadlineSeconds"]) // 60 for name in ("look", "close")}
    assert minutes == {"look": 20, "close": 30}


# --- for people -------------------------------------------------------------------------------------------------------


def test_names_are_unique_and_short(spec: Json) -> None:
    artifacts = [
        artifact
        for task in leaves(spec).values()
        for artifact in component_of(spec, task).get("outputDefinitions", {}).get("artifacts", {})
    ]
    shown = [task["taskInfo"]["name"] for _, task in all_tasks(spec)]
    for kind in (list(leaves(spec)), artifacts, shown):
        assert [name for name, count in Counter(kind).items() if count > 1] == []
        assert [name for name in kind if len(name) > LONGEST_NAME] == []
    assert {"plan", "data_page", "samples_page", "restorations_page", "scores_page", "metrics", "outcome"} <= {
        *artifacts
    }


def test_tasks_and_layers_have_names_for_people(spec: Json) -> None:
    assert all(re.fullmatch("[A-Z][a-z ]+", task["taskInfo"]["name"]) for _, task in all_tasks(spec))


def test_run_parameters_explain_themselves(spec: Json) -> None:
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert set(parameters) == {"recipe", "overrides", "source", "num_nodes", "only_if_changed"}
    assert [name for name, each in parameters.items() if not each.get("isOptional")] == ["recipe"]
    assert all(len(parameter["description"]) > 40 for parameter in parameters.values())


def test_components_explain_themselves(spec: Json) -> None:
    """The KFP UI shows the descriptions of inputs and outputs."""
    for name, task in leaves(spec).items():
        component = component_of(spec, task)
        for direction in ("inputDefinitions", "outputDefinitions"):
            for kind in component.get(direction, {}).values():
                for key, definition in kind.items():
                    assert definition.get("description", "").rstrip("\n").endswith((".", "`.")), f"{name}: {key}"


# --- pods' settings ---------------------------------------------------------------------------------------------------


def test_every_task_is_configured(spec: Json, executors: Json) -> None:
    assert executors.keys() == {f"exec-{name}" for name in TASKS}
    for name, settings in executors.items():
        variables = {item["envVar"] for secret in settings["secretAsEnv"] for item in secret["keyToEnv"]}
        assert {"AWS_ACCESS_KEY_ID", "MLFLOW_TRACKING_PASSWORD"} <= variables, name
        assert all(secret["optional"] for secret in settings["secretAsEnv"]), "look names what is missing"
        assert settings["emptyDirMounts"][0]["mountPath"] == "/dev/shm"  # noqa: S108
        assert settings["fieldPathAsEnv"][0]["name"] == "LINNET_PIPELINE_RUN"
    containers = {name: each["container"] for name, each in spec["deploymentSpec"]["executors"].items()}
    assert {container["image"] for container in containers.values()} == {IMAGE}
    for name in ("exec-look", "exec-train"):
        assert {"LINNET_TRAINJOB", "LINNET_POD_GPUS"} & {each["name"] for each in containers[name]["env"]}


def test_a_task_that_follows_a_job_may_do_so_as_long_as_the_job_runs(spec: Json, executors: Json) -> None:
    container = spec["deploymentSpec"]["executors"]["exec-train"]["container"]
    follows = "LINNET_TRAINJOB" in {each["name"] for each in container["env"]}
    assert ("accelerator" in container["resources"]) <= (not follows)
    assert int(executors["exec-train"]["activeDeadlineSeconds"]) >= int(
        executors["exec-sample"]["activeDeadlineSeconds"]
    )


def test_a_task_that_follows_a_job_is_not_moved_to_save_a_node(executors: Json) -> None:
    evictable = {name: each.get("podMetadata", {}).get("annotations", {}) for name, each in executors.items()}
    never = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
    assert evictable == {name: never if name == "exec-train" else {} for name in executors}
