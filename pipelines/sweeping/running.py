"""Runs one after the other: what is done already is not done again, what fails is written down."""

from collections.abc import Callable, Sequence
from pathlib import Path

from linnet import stages
from linnet.progress import ProgressBar, log
from pipelines.sweeping.outcome import Failed, Measured, Outcome, read_metrics
from pipelines.sweeping.points import Run
from pipelines.sweeping.project import Project
from pipelines.sweeping.workspace import RunFailed, Workspace

NOTE_LETTERS = 70


class Runner:
    """Makes outcomes of runs. A training uses all GPUs of the machine, so there is one run at a time."""

    def __init__(self, project: Project, metric: str, logs: Path, open_workspace: Callable[[], Workspace]) -> None:
        self._project, self._metric, self._logs = project, metric, logs
        self._open_workspace = open_workspace
        self._workspace: Workspace | None = None
        self._experiments = project.experiments()
        self.outcomes: dict[str, Outcome] = {}  # by name, in the order they came

    def recall(self, runs: Sequence[Run]) -> int:
        """Take what earlier calls of the sweep have measured, and say how much that was."""
        before = len(self.outcomes)
        for run in runs:
            if run.name not in self.outcomes and run.name in self._experiments:
                text = self._project.metrics_of(self._experiments[run.name], run.recipe.name)
                if text is not None:
                    self.outcomes[run.name] = read_metrics(run, self._metric, text)
        return len(self.outcomes) - before

    def measure(self, runs: Sequence[Run], bar: ProgressBar) -> list[Outcome]:
        """The outcomes of `runs`. Those that are missing are run; those that failed earlier are run again."""
        bar.advance(self.recall(runs))
        for run in runs:
            if run.name not in self.outcomes:
                self.outcomes[run.name] = self._execute(run, bar)
                bar.advance()
        return [self.outcomes[run.name] for run in runs]

    def _execute(self, run: Run, bar: ProgressBar) -> Outcome:
        if self._workspace is None:
            self._workspace = self._open_workspace()
        log(f"{run.name}: {run.combination}, seed {run.seed}")
        log_file = self._logs / f"{run.name}.log"

        def on_line(line: str) -> None:
            if line.partition(":")[0] in {stage.name for stage in stages.STAGES}:  # DVC says much more
                bar.advance(0, note=line[:NOTE_LETTERS])

        try:
            commit = self._workspace.run(run, log=log_file, on_line=on_line)
        except RunFailed as reason:
            log(f"{run.name}: failed: {reason} (all it said: {log_file})")
            return Failed(run, str(reason))
        text = self._project.metrics_of(commit, run.recipe.name)
        outcome = Failed(run, "its metrics.json is gone") if text is None else read_metrics(run, self._metric, text)
        match outcome:
            case Measured(score=score):
                log(f"{run.name}: {self._metric} {score:.4g}")
            case Failed(reason=why):
                log(f"{run.name}: failed: {why}")
        return outcome

    def close(self) -> None:
        """Everything is done: the workspace is not needed any more."""
        if self._workspace is not None:
            self._workspace.remove()
