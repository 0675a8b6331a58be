"""The MLflow run of one training, logged to without ever delaying it.

One background thread behind a bounded queue sends everything to the server. A server that is slow or gone costs
training nothing, and what it could not take is kept for it: the end of the training waits as long as LINNET_PATIENCE
says. What it did not take until then is counted and said, and the model folder holds the history.
"""

import contextlib
import importlib
import itertools
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from linnet.errors import LinnetError
from linnet.patience import patience_seconds
from linnet.progress import log
from linnet.tracking.address import display_uri
from linnet.tracking.client import RUN_KEY, connect, find_or_create_run
from linnet.tracking.failures import TrackingError, tracking_error
from linnet.tracking.outages import outage, waiting_at_most
from linnet.tracking.pipeline_runs import begin_use, end_status

if TYPE_CHECKING:
    from mlflow import MlflowClient

QUEUE_LENGTH = 10_000
CLOSING_SECONDS = 30.0
UNREACHED_SECONDS = 3.0  # how long closing waits for a server that never answered
MAX_TRIES = 3  # for an entry that an answering server refuses; one that does not answer is asked until the end
RETRY_SECONDS = 5.0

T = TypeVar("T")


class Tracker(Protocol):
    """Where a stage logs what it does, as a context around its work; no call blocks or fails."""

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers at a training step."""

    def log_image(self, key: str, image: NDArray[np.uint8], step: int) -> None:
        """Log an image [height, width, 3], which MLflow shows along a slider of steps."""

    def log_artifact(self, path: Path, folder: str) -> None:
        """Log a file into a folder of the run's artifacts."""

    def log_dataset(self, name: str, digest: str, source: str, profile: str) -> None:
        """Log the data that a model is trained on as an input of the run.

        Args:
            digest: the content hash of the dataset.
            source: where it lies.
            profile: facts about it, as JSON.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class NoTracker:
    """A tracker that logs nothing."""

    def log_metrics(self, values: Mapping[str, float], step: int) -> None: ...

    def log_image(self, key: str, image: NDArray[np.uint8], step: int) -> None: ...

    def log_artifact(self, path: Path, folder: str) -> None: ...

    def log_dataset(self, name: str, digest: str, source: str, profile: str) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


class _RefusedError(Exception):
    """The server answers, and takes an entry in no try."""


class _GivenUpError(Exception):
    """No time is left for a server that does not answer."""


class RunTracker:
    """The MLflow run of one training, created or resumed by its key.

    Args:
        run_key: what ties the run to the inputs of its training; a training with the same key resumes the run.
        params: hyperparameters; those that the run has already are left alone.
        system_metrics: whether MLflow also logs the use of CPU, GPU and memory.
        must_arrive: whether the block fails if the server did not take everything.
        closing_seconds: how long the end of the block waits for the server, if LINNET_PATIENCE says no more.
    """

    def __init__(
        self,
        run_key: str,
        *,
        run_name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        system_metrics: bool,
        must_arrive: bool = False,
        closing_seconds: float = CLOSING_SECONDS,
    ) -> None:
        self._run_key, self._run_name = run_key, run_name
        self._params, self._tags = dict(params), dict(tags)
        self._system_metrics, self._must_arrive = system_metrics, must_arrive
        self._closing_seconds = closing_seconds
        self._entries: queue.Queue[Callable[[MlflowClient, str], None]] = queue.Queue(QUEUE_LENGTH)
        self._unsent: Callable[[MlflowClient, str], None] | None = None  # the entry that is being sent
        self._lost = 0
        self._closing = threading.Event()
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._send_all, name="linnet-tracking", daemon=True)
        self._deadline = float("inf")
        self._status = "FINISHED"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status = end_status(kind)
        wait_seconds = self._closing_seconds
        if self._status != "KILLED" and (patience := patience_seconds()):  # who is killed has no time to wait
            wait_seconds = max(wait_seconds, patience)
        elif not self._opened.is_set() and display_uri().startswith("http"):  # a local store takes seconds to create
            importlib.import_module("mlflow")  # on a busy machine that alone takes longer than a dead server deserves
            wait_seconds = min(wait_seconds, UNREACHED_SECONDS)
        self._deadline = time.monotonic() + wait_seconds
        self._closing.set()
        self._thread.join(wait_seconds)
        missing = self._lost + self._entries.qsize() + (self._unsent is not None)
        if missing and self._must_arrive and kind is None:
            raise TrackingError(
                f"MLflow at {display_uri()} did not take {missing} entries of this run, which belong to its result; "
                "check MLFLOW_TRACKING_URI and that the server runs, then repeat"
            )
        if missing:
            log(
                f"MLflow at {display_uri()} did not take {missing} entries of this run; the results are complete, "
                "their history is in the model folder."
            )

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers at a training step, with the time of this call."""
        now = int(time.time() * 1000)
        values = dict(values)  # the caller may go on to change its own

        def send(client: "MlflowClient", run_id: str) -> None:
            from mlflow.entities import Metric

            client.log_batch(run_id, metrics=[Metric(key, value, now, step) for key, value in values.items()])

        self._put(send)

    def log_image(self, key: str, image: NDArray[np.uint8], step: int) -> None:
        """Log an image [height, width, 3], which MLflow shows along a slider of steps."""
        self._put(lambda client, run_id: client.log_image(run_id, image, key=key, step=step))

    def log_artifact(self, path: Path, folder: str) -> None:
        """Log a file into a folder of the run's artifacts."""
        self._put(lambda client, run_id: client.log_artifact(run_id, str(path), folder))

    def log_dataset(self, name: str, digest: str, source: str, profile: str) -> None:
        """Log the data that a model is trained on as an input of the run."""

        def send(client: "MlflowClient", run_id: str) -> None:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            entity = Dataset(name, digest[:36], source_type="local", source=source, profile=profile)
            client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])

        self._put(send)

    def _put(self, send: Callable[["MlflowClient", str], None]) -> None:
        try:
            self._entries.put_nowait(send)
        except queue.Full:
            self._lost += 1

    def _send_all(self) -> None:
        with contextlib.suppress(_GivenUpError, _RefusedError), waiting_at_most(0):
            client, run_id = self._retry(self._open)
            self._opened.set()
            monitor = self._start_system_metrics(run_id)
            while not (self._closing.is_set() and self._entries.empty() and self._unsent is None):
                try:
                    self._unsent = self._entries.get(timeout=0.2)
                    self._retry(partial(self._unsent, client, run_id), max_tries=MAX_TRIES)
                except queue.Empty:
                    continue
                except _RefusedError:
                    self._lost += 1
                self._unsent = None
            if monitor is not None:
                monitor.finish()
            self._retry(partial(client.set_terminated, run_id, self._status), max_tries=MAX_TRIES)

    def _open(self) -> tuple["MlflowClient", str]:
        from mlflow.entities import Param, RunTag

        client = connect()
        run_id = os.environ.get("MLFLOW_RUN_ID") or find_or_create_run(client, self._run_key, run_name=self._run_name)
        begin_use(client, run_id, keeps_order=True)
        tags = [RunTag(key, value) for key, value in ({RUN_KEY: self._run_key} | self._tags).items()]
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

    def _retry(self, attempt: Callable[[], T], *, max_tries: float = float("inf")) -> T:
        """What `attempt` returns when it does not fail.

        Raises:
            _RefusedError: a server that answers refused it `max_tries` times.
            _GivenUpError: the run is closing and no time is left for another try.
        """
        refusals = 0
        for tries in itertools.count(1):
            try:
                return attempt()
            except Exception as error:  # noqa: BLE001  the server's errors, whatever they are, must not reach training
                is_known = isinstance(error, LinnetError)
                if tries == 1:
                    log(f"{error if is_known else tracking_error(error)}. Training goes on without it")
                is_away = outage(error) is not None
            refusals += not is_away
            if refusals >= max_tries:
                raise _RefusedError
            if self._closing.is_set() and not is_away and (is_known or refusals >= MAX_TRIES):
                raise _GivenUpError
            if self._closing.wait(RETRY_SECONDS):
                if time.monotonic() + RETRY_SECONDS >= self._deadline:
                    raise _GivenUpError
                time.sleep(RETRY_SECONDS)
        raise AssertionError("unreachable")
