"""What tests on a real cluster have in hand: runs of tiny recipes there, their pods, and the registry they write to."""

import contextlib
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import ApiException
from kubernetes.config import ConfigException

from pipelines import connection as to
from pipelines import submit
from pipelines.clusters.profile import Cluster
from support.cluster_runs import Pods, executed_by_details, executed_by_pods, is_running, task_of, wait_for
from support.tiny import tiny_recipe, write_recipe

POD_SECONDS = 1800.0  # until a pod of a task runs: the tasks before it, and a place on a node
PAUSE_SECONDS = 0.3  # the shortest task lasts some seconds
TASKS = ("look", "ingest", "preprocess", "train", "sample", "restore", "evaluate", "gate", "close")
WEIGHTS = "linnet.weights_sha256"


@dataclass
class Site:
    """The cluster, and what was made there."""

    profile: Cluster
    package: Path  # the compiled pipeline
    connection: to.Connection
    client: Any  # kfp's
    folder: Path
    token: str = field(default_factory=lambda: uuid.uuid4().hex[:8])  # in all names of this session
    runs: list[str] = field(default_factory=list)

    def submit(
        self, name: str, *overrides: str, num_nodes: int = 1, only_if_changed: bool = False, caching: bool = True
    ) -> str:
        """Start a run of the tiny recipe with names of its own; without `overrides` all end in the same weights."""
        names = (f"name={self.named(name)}", f"register.model_name={self.model(name)}")
        recipe = tiny_recipe(*names, f"train.seed={self.seed}", *overrides)
        path = write_recipe(self.folder, recipe)
        return self.submit_text(
            path.read_text(), name, num_nodes=num_nodes, only_if_changed=only_if_changed, caching=caching
        )

    def submit_text(
        self,
        recipe: str,
        name: str,
        *,
        overrides: str = "",
        num_nodes: int = 1,
        only_if_changed: bool = False,
        caching: bool = True,
    ) -> str:
        """Start a run with these parameters, as they are."""
        arguments = submit.run_arguments(recipe, overrides, "", num_nodes, only_if_changed)
        run_id = submit.create_run(
            self.client, self.connection, self.package, arguments, self.named(name), caching=None if caching else False
        )
        self.runs.append(run_id)
        return run_id

    def end_of(self, run_id: str) -> str:
        """The state in which the run ended."""
        return str(submit.follow(lambda: self.client.get_run(run_id)).state)

    def executed(self, run_id: str) -> set[str]:
        """The tasks of a run that did something, instead of being taken from the cache."""
        with contextlib.suppress(ConfigException, ApiException):  # no kubeconfig, or no right to see pods
            return executed_by_pods(Pods(self.profile.namespace).of_run(run_id))
        details = self.client.get_run(run_id).run_details.task_details
        return executed_by_details(details, submit.task_names(self.package))

    def pod_of(self, run_id: str, task: str) -> dict[str, Any]:
        """The newest pod of a task, ended or not."""
        found = [pod for pod in self.pods.of_run(run_id) if task_of(pod) == task]
        return max(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def disturb(self, run_id: str, tasks: Collection[str], harm: Callable[[dict[str, Any]], object]) -> dict[str, str]:
        """Do `harm` to one running pod of each of `tasks`; the pods' names by task.

        Raises AssertionError if the run ends before that.
        """
        pods, harmed = self.pods, dict[str, str]()
        while set(tasks) - set(harmed):
            ended = self.client.get_run(run_id).state in submit.ENDED
            for pod in pods.of_run(run_id):
                task = task_of(pod)
                if task is not None and task in set(tasks) - set(harmed) and is_running(pod):
                    with contextlib.suppress(pods.Gone):  # it ended just now
                        harm(pod)
                        harmed[task] = str(pod["metadata"]["name"])
            assert not ended, f"run {run_id} ended before pods of {sorted(set(tasks) - set(harmed))} could be harmed"
            time.sleep(PAUSE_SECONDS)
        return harmed

    def retry(self, run_id: str) -> None:
        """As Retry on the run's page; returns once the run is at work again, because its old end is still told."""
        self.client._run_api.run_service_retry_run(run_id=run_id)
        what = f"run {run_id} to go on"
        wait_for(lambda: self.client.get_run(run_id).state not in submit.ENDED, what, seconds=120, pause_seconds=0.5)

    def remove_runs(self) -> None:
        """Deleting a run also deletes its workflow, and with that the pods."""
        for run_id in self.runs:
            if self.client.get_run(run_id).state not in submit.ENDED:
                self.client.terminate_run(run_id)
                self.end_of(run_id)
            self.client.delete_run(run_id)

    @property
    def seed(self) -> int:
        """Of this session's trainings, so that none goes on from a checkpoint of an earlier session."""
        return int(self.token, 16) % 2**31

    def named(self, name: str) -> str:
        return f"cluster-test-{name}-{self.token}"

    def model(self, name: str) -> str:
        return f"linnet-{self.named(name)}"

    @property
    def pods(self) -> Pods:
        """The pods of the profile's namespace; skips the test where there is no kubeconfig."""
        try:
            return Pods(self.profile.namespace)
        except ConfigException as reason:
            pytest.skip(f"needs a kubeconfig (KUBECONFIG) with rights to pods: {reason}")


@dataclass
class Mlflow:
    """The registry that the cluster's tasks write to."""

    client: Any
    site: Site

    def weights(self, name: str) -> str:
        """The content hash of the only model that runs of this name made."""
        (version,) = self.client.search_model_versions(f"name = '{self.site.model(name)}'")
        return str(version.tags[WEIGHTS])

    def clean_up(self) -> None:
        """Remove the models and runs of this session."""
        token = self.site.token
        for model in self.client.search_registered_models(f"name LIKE '%{token}%'"):
            self.client.delete_registered_model(model.name)
        for run in self._runs(f"attributes.run_name LIKE '%{token}%'"):
            self.client.delete_run(run.info.run_id)

    def statuses(self, run_id: str) -> list[str]:
        """Of the MLflow runs that belong to a pipeline run."""
        return [run.info.status for run in self._runs(f"tags.`linnet.pipeline_run` LIKE '%{run_id}%'")]

    def _runs(self, query: str) -> list[Any]:
        return list(self.client.search_runs([each.experiment_id for each in self.client.search_experiments()], query))
