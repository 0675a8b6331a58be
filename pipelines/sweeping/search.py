"""Optuna proposes settings, each measured by all seeds like a point of a grid; the study can be stopped anywhere.

What trial n proposes is a function of the sampler's seed, n and the trials before it, so that a study that was stopped
goes on as if it had not been. (Optuna's own random state would start over and propose its first trials again.)
A trial that was stopped or failed stays open: the next call runs it again.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

import numpy as np

from pipelines.sweeping.points import Combination, at, combine
from pipelines.sweeping.sweep_file import Choice, Dimension, Range, Search, Sweep, SweepError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial


def require_optuna() -> None:
    """Raises SweepError."""
    if find_spec("optuna") is None:
        raise SweepError(
            "[search] needs Optuna, which is not installed: install linnet with its extra 'search' (`make setup` does) "
            "or use [grid]"
        )


def run(
    sweep: Sweep,
    search: Search,
    *,
    database: Path,
    identity: str,
    score: Callable[[Combination], float | None],
) -> None:
    """Bring the study in `database` to its number of trials.

    Args:
        sweep: What is fixed.
        search: The space, and how many trials.
        database: A SQLite file, made on first use.
        identity: Of code and data: scores of others teach nothing about these.
        score: Measures settings; None where they have no score (yet).
    """
    study = _open_study(sweep, search, database, identity)
    for trial in _trials(study, search):
        result = score(_combination(sweep, search, trial.params))
        if result is not None:
            study.tell(trial.number, result)


def known(sweep: Sweep, search: Search, *, database: Path, identity: str) -> list[Combination]:
    """What the study has proposed so far, in order."""
    if not database.is_file():
        return []
    trials = _whole(_open_study(sweep, search, database, identity), search)
    return [_combination(sweep, search, trial.params) for trial in trials]


def _open_study(sweep: Sweep, search: Search, database: Path, identity: str) -> "Study":
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    database.parent.mkdir(parents=True, exist_ok=True)
    space = {name: repr(values) for name, values in search.space.items()}
    decides = [
        identity,
        sweep.metric,
        sweep.seeds,
        repr(sweep.fixed),
        space,
        search.startup_trials,
        search.sampler_seed,
    ]
    name = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    return optuna.create_study(
        storage=f"sqlite:///{database.resolve()}", study_name=f"{sweep.name}-{name[:8]}", load_if_exists=True
    )


def _trials(study: "Study", search: Search) -> Iterator["FrozenTrial"]:
    """Those that are still open, then new ones."""
    import optuna
    from optuna.trial import TrialState

    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        if set(trial.params) == set(search.space):
            yield trial
        else:
            study.tell(trial.number, state=TrialState.FAIL)  # stopped while it was being proposed
    while len(_whole(study, search)) < search.trials:
        number = len(study.get_trials(deepcopy=False))
        seed = int(np.random.SeedSequence([search.sampler_seed, number]).generate_state(1)[0])
        study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=search.startup_trials)
        asked = study.ask({name: _distribution(values) for name, values in search.space.items()})
        yield study.get_trials()[asked.number]


def _whole(study: "Study", search: Search) -> "list[FrozenTrial]":
    return [trial for trial in study.get_trials() if set(trial.params) == set(search.space)]


def _distribution(values: Range | Dimension) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match values:
        case Range(low=int(low), high=int(high), log=log):
            return IntDistribution(low, high, log=log)
        case Range(low=low, high=high, log=log):
            return FloatDistribution(float(low), float(high), log=log)
        case Dimension(choices=choices):
            return CategoricalDistribution([choice.label for choice in choices])
        case _:
            assert_never(values)


def _combination(sweep: Sweep, search: Search, params: dict[str, Any]) -> Combination:
    def choice(name: str, values: Range | Dimension) -> Choice:
        match values:
            case Range():
                return at(name, params[name])
            case Dimension(choices=choices):
                return next(choice for choice in choices if choice.label == params[name])
            case _:
                assert_never(values)

    return combine(sweep, {name: choice(name, values) for name, values in search.space.items()})
