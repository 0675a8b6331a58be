"""The run of one training, fed from the side.

All talk with the server happens in one background thread behind a bounded queue. A server that is slow or gone costs
training nothing: what it did not take is counted and said at the end, and the files in the model folder hold it all.
"""

import importlib
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from linnet.errors import Stopped, first_line
from linnet.progress import log
from linnet.tracking.client import (
    PIPELINE_RUN_TAG,
    RUN_KEY,
    connect,
    experiment_id,
    find_run,
    pipeline_run,
    shown_uri,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

QUEUE_LENGTH = 10_000
CLOSING_SECONDS = 30.0
UNREACHED_SECONDS = 3.0  # a server that never answered is not waited for longer
TRIES = 3  # for an entry that an answering server refuses
RETRY_SECONDS = 5.0


class Tracker(Protocol):
    """What a stage may tell about itself."""

    def metrics(self, values: Mapping[str, float], step: int) -> None: ...

    def image(self, key: str, image: NDArray[np.uint8], step: int) -> None: ...

    def file(self, path: Path, folder: str) -> None: ...

    def dataset(self, name: str, digest: str, source: str, profile: str) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class NoTracker:
    """Tracks nothing."""

    def metrics(self, values: Mapping[str, float], step: int) -> None: ...

    def image(self, key: str, image: NDArray[np.uint8], step: int) -> None: ...

    def file(self, path: Path, folder: str) -> None: ...

    def dataset(self, name: str, digest: str, source: str, profile: str) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


class RunTracker:
    """The run of one training, opened (or taken up again) and fed by a background thread."""

    def __init__(
        self,
        run_key: str,
        *,
        run_name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        system_metrics: bool,
        closing_seconds: float = CLOSING_SECONDS,
    ) -> None:
        self._run_key, self._run_name = run_key, run_name
        self._params, self._tags = dict(params), dict(tags)
        self._system_metrics, self._closing_seconds = system_metrics, closing_seconds
        self._tasks: queue.Queue[Callable[[MlflowClient, str], None]] = queue.Queue(QUEUE_LENGTH)
        self._lost = 0
        self._closing = threading.Event()
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="linnet-tracking", daemon=True)
        self._deadline = float("inf")
        self._status = "FINISHED"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._status = "KILLED" if issubclass(kind, (KeyboardInterrupt, Stopped)) else "FAILED"
        patience = self._closing_seconds
        if not self._opened.is_set() and shown_uri().startswith("http"):  # a new local store takes seconds to make
            importlib.import_module("mlflow")  # on a busy machine that alone takes longer than a dead server deserves
            patience = min(patience, UNREACHED_SECONDS)
        self._deadline = time.monotonic() + patience
        self._closing.set()
        self._thread.join(patience)
        if missing := self._lost + self._tasks.qsize():
            log(
                f"MLflow at {shown_uri()} did not take {missing} entries of this run; the results are complete, "
                "their history is in the model folder. Check the server and MLFLOW_TRACKING_URI."
            )

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Numbers at a step."""
        now = int(time.time() * 1000)
        copy = dict(values)

        def log(client: "MlflowClient", run_id: str) -> None:
            from mlflow.entities import Metric

            client.log_batch(run_id, metrics=[Metric(key, value, now, step) for key, value in copy.items()])

        self._put(log)

    def image(self, key: str, image: NDArray[np.uint8], step: int) -> None:
        """An image that MLflow shows along a slider of steps."""
        self._put(lambda client, run_id: client.log_image(run_id, image, key=key, step=step))

    def file(self, path: Path, folder: str) -> None:
        """A file as an artifact."""
        self._put(lambda client, run_id: client.log_artifact(run_id, str(path), folder))

    def dataset(self, name: str, digest: str, source: str, profile: str) -> None:
        """The data the run was trained on, as a logged input with its digest."""

        def log(client: "MlflowClient", run_id: str) -> None:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            entity = Dataset(name, digest[:36], source_type="local", source=source, profile=profile)
            client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])

        self._put(log)

    def _put(self, task: Callable[["MlflowClient", str], None]) -> None:
        try:
            self._tasks.put_nowait(task)
        except queue.Full:
            self._lost += 1

    def _serve(self) -> None:
        opened = self._until_it_works(self._open)
        if opened is None:
            return
        client, run_id = opened
        self._opened.set()
        monitor = self._start_system_metrics(run_id)
        while not (self._closing.is_set() and self._tasks.empty()):
            try:
                task = self._tasks.get(timeout=0.2)
            except queue.Empty:
                continue

            def attempt(task: Callable[["MlflowClient", str], None] = task) -> bool:
                task(client, run_id)
                return True

            if self._until_it_works(attempt, tries=TRIES) is None:
                self._lost += 1
        if monitor is not None:
            monitor.finish()
        self._until_it_works(lambda: client.set_terminated(run_id, self._status) or True, tries=TRIES)

    def _open(self) -> tuple["MlflowClient", str]:
        from mlflow.entities import Param, RunTag

        client = connect()
        run_id = os.environ.get("MLFLOW_RUN_ID") or find_run(client, self._run_key)
        if run_id is None:
            run_id = client.create_run(experiment_id(client), run_name=self._run_name).info.run_id
        client.update_run(run_id, status="RUNNING")
        all_tags = {RUN_KEY: self._run_key} | self._tags
        if (pipeline := pipeline_run()) is not None:
            all_tags[PIPELINE_RUN_TAG] = pipeline
        tags = [RunTag(key, value) for key, value in all_tags.items()]
        known = client.get_run(run_id).data.params
        params = [Param(key, str(value)) for key, value in self._params.items() if key not in known]
        client.log_batch(run_id, params=params, tags=tags)
        return client, run_id

    def _start_system_metrics(self, run_id: str) -> Any:
        if not self._system_metrics:
            return None
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        monitor: Any = SystemMetricsMonitor(run_id, resume_logging=True)  # type: ignore[no-untyped-call]
        monitor.start()
        return monitor

    def _until_it_works(self, attempt: Callable[[], Any], *, tries: float = float("inf")) -> Any:
        """What `attempt` returns; None after `tries`, or once the run is closing and no time is left for another."""
        warned = False
        while True:
            try:
                return attempt()
            except Exception as reason:  # noqa: BLE001  the server's troubles, whatever they are, must not reach training
                if not warned:
                    log(f"MLflow at {shown_uri()} does not answer ({first_line(reason)}); training goes on")
                    warned = True
            tries -= 1
            if tries <= 0:
                return None
            if self._closing.wait(RETRY_SECONDS):
                if time.monotonic() + RETRY_SECONDS >= self._deadline:
                    return None
                time.sleep(RETRY_SECONDS)
