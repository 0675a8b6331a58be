"""What people read about the nodes of a TrainJob: every node's state and reason, and what failed and why."""

import pytest

from linnet.launch import nodes
from linnet.launch.node import FINAL_STATUS
from linnet.launch.trainjob import TrainJobError
from support.kubernetes_api import KubernetesApi
from support.trainjobs import NAME, completes, run


def fails(api: KubernetesApi, *, reason: str = "ReachedMaxRestarts", message: str = "too many restarts") -> str:
    """The message of a task whose job fails after the steps that are planned."""
    api.steps.append(lambda: api.end_job("Failed", reason=reason, message=message))
    with pytest.raises(TrainJobError) as caught:
        run()
    return str(caught.value)


def about_nodes(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("node ")]


def test_every_node_is_told_about_when_it_changes(api: KubernetesApi, capsys: pytest.CaptureFixture[str]) -> None:
    def unplaced() -> None:
        why = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: 2 full"}
        api.start_pod(index=1, phase="Pending", status={"conditions": [why]})

    api.steps = [
        lambda: api.start_pod().write("step 1"),
        unplaced,
        lambda: None,
        lambda: setattr(api.pods[1], "phase", "Running"),
        lambda: api.end_job("Complete"),
    ]
    run()
    names = [pod.name for pod in api.pods]
    assert about_nodes(capsys.readouterr().err) == [
        f"node 0: running as pod {names[0]}",
        "node 1: waiting for its pod",
        "node 1: pending: Unschedulable: 0/3 nodes: 2 full",
        f"node 1: running as pod {names[1]}",
    ]


def test_another_attempt_is_told_about(api: KubernetesApi, capsys: pytest.CaptureFixture[str]) -> None:
    def restart() -> None:
        api.pods.clear()  # JobSet recreates all of them
        api.start_pod(attempt=1).write("step 8")

    api.steps = [lambda: api.start_pod().write("step 7"), restart, lambda: api.end_job("Complete")]
    run(num_nodes=1)
    said = capsys.readouterr().err.splitlines()
    assert said.index("attempt 2: all nodes start again, from the newest checkpoint") == said.index("step 8") - 1


@pytest.mark.parametrize("reason", sorted(nodes.IMAGE_REASONS))
def test_an_image_that_cannot_be_pulled_ends_the_task(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    monkeypatch.setattr(nodes, "IMAGE_SECONDS", 0.05)
    api.steps = [lambda: api.start_pod(index=1).wait_for(reason, "manifest unknown")]
    with pytest.raises(TrainJobError, match=rf"node 1 has not got its image for .* minutes \({reason}: manifest unkno"):
        run()
    assert len(api.deletions) == 1


def test_an_image_that_comes_late_is_waited_for(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reasons take turns while Kubernetes tries again; the minutes count from the first one."""
    monkeypatch.setattr(nodes, "IMAGE_SECONDS", 60.0)
    api.steps = [
        lambda: api.start_pod().wait_for("ErrImagePull"),
        lambda: api.pods[0].wait_for("ImagePullBackOff"),
        lambda: setattr(api.pods[0], "phase", "Running"),
    ]
    completes(api, after=3)
    run()


def test_a_failure_names_node_sentence_attempts_and_remedy(api: KubernetesApi) -> None:
    def end() -> None:
        api.start_pod(attempt=5).end(1, said="linnet train-node: the nodes did not find each other")
        api.start_pod(index=1, attempt=5).end(137, reason="OOMKilled")
        api.pods[1].write("step 7", "linnet: half a sentence", "=====")

    api.steps = [end]
    assert fails(api) == (
        f"TrainJob lab/{NAME} failed after 6 attempts: ReachedMaxRestarts: too many restarts; node 0 failed (exit "
        "status 1) and said last: 'linnet train-node: the nodes did not find each other'. Repeat the task (in KFP: "
        "Retry) and it goes on from the newest checkpoint; the whole log: "
        f"kubectl -n lab logs -l jobset.sigs.k8s.io/jobset-name={NAME} --prefix --tail=-1"
    )
    assert api.deletions == []  # for people to look at


def test_an_error_for_people_comes_first_and_is_not_to_be_repeated(api: KubernetesApi) -> None:
    def end() -> None:
        api.start_pod().end(1, said="connection closed by peer")
        api.start_pod(index=1).end(FINAL_STATUS, said="linnet train-node: loss nan at learning rate 1")

    api.steps = [end]
    said = fails(api, reason="FailJobSetFailurePolicyAction")
    assert "; node 1 failed (exit status 64) and said last: 'linnet train-node: loss nan at learning rate 1'" in said
    assert "It would fail again: correct what the sentence names, and start the run again" in said
    assert "attempts" not in said


def test_without_a_termination_message_the_log_says_it(api: KubernetesApi) -> None:
    def end() -> None:
        api.start_pod(index=1).end(137, reason="OOMKilled")
        api.pods[0].write("linnet: step 7", "Traceback", "=====")

    api.steps = [end]
    assert "node 1 failed (OOMKilled, exit status 137) and said last: 'linnet: step 7'" in fails(api)


def test_a_pod_that_was_evicted_says_why(api: KubernetesApi) -> None:
    evicted = {"reason": "Evicted", "message": "The node was low on resource: memory."}
    api.steps = [lambda: api.start_pod(phase="Failed", status=evicted)]
    assert "; node 0 failed (Evicted: The node was low on resource: memory.). Repeat" in fails(api)


def test_a_job_without_a_failed_pod_still_says_why(api: KubernetesApi) -> None:
    said = fails(api, reason="DeadlineExceeded", message="it took too long")
    assert f"TrainJob lab/{NAME} failed: DeadlineExceeded: it took too long. Repeat the task" in said
