"""metrics.json: what evaluate measured, as typed values for all who read it. Imports no torch."""

from pathlib import Path
from typing import Self

from linnet.artifacts import Report
from linnet.files import StrictTable, read_table, write_json


class Interval(StrictTable):
    """A 95 % interval."""

    low: float
    high: float


class Context(StrictTable):
    """The same distance of other sets of examples, to read a score by."""

    untrained: float  # samples of the network before training
    noise: float  # Gaussian noise with the data's mean and scale
    real: float  # real examples of the split that is not the reference


def tells_noise(*, noise: float, real: float) -> bool:
    """Whether a distance tells noise from real examples: noise must be further from the reference than they are.

    No distance is below 0: one of `real` that is, is an estimate that is wrong by at least as much, and so is noise's.
    """
    return noise > abs(real)


class Comparison(StrictTable):
    """A score of the restoration of clean examples, beside what needs no model."""

    restored: float
    baseline: float
    observed: float


class Memorization(StrictTable):
    """Median distances to the nearest training example."""

    sample_median: float
    real_median: float  # of held-out real examples


class Reference(StrictTable):
    """What the samples were compared with, and what made it."""

    split: str
    count: int
    data_hash: str
    raw_hash: str
    code_hash: str


class Metrics(StrictTable):
    """All that evaluate measured; distances by their names, restorations by degradation and metric."""

    scores: dict[str, float]
    intervals: dict[str, Interval]
    context: dict[str, Context]
    protocols: dict[str, str]  # scores with different protocols do not compare
    counts: dict[str, int]  # of the examples or segments in each set
    restoration: dict[str, dict[str, Comparison]]
    memorization: Memorization
    reference: Reference

    def doubts(self) -> list[str]:
        """A sentence for each distance by which real examples are no nearer to the reference than noise is."""
        return [
            f"{name} cannot tell real examples from pure noise here: real examples of the other split have "
            f"{context.real:.4g}, pure noise has {context.noise:.4g}"
            + (" (an estimate below 0 is wrong by at least that much)" if min(context.real, context.noise) < 0 else "")
            + ". So the model's score says nothing: hold out more examples (where they are few the two splits differ), "
            "or read another distance."
            for name, context in self.context.items()
            if not tells_noise(noise=context.noise, real=context.real)
        ]

    def save(self, report: Path) -> None:
        """Write metrics.json into the folder `report`."""
        write_json(report / Report.metrics, self.model_dump())

    @classmethod
    def load(cls, report: Path) -> Self:
        """Read metrics.json of the folder `report`.

        Raises:
            ArtifactError: it is missing, damaged, or of another version of linnet.
        """
        return read_table(cls, report / Report.metrics, made_by="evaluate")
