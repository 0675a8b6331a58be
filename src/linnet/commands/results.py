"""results: what was made, in lines for people: scores, the registered version, and where to look."""

from collections.abc import Iterator
from pathlib import Path

from linnet.artifacts import Registration
from linnet.files import read_json
from linnet.metrics.results import Metrics


def run(folder: Path) -> Iterator[str]:
    """Lines about the results in `folder` (BUILD/<recipe>); none where it holds none of a recipe.

    Raises:
        ArtifactError: a result is damaged, or of another version of linnet.
    """
    if not (folder / "dataset").is_dir():
        return  # of a sweep, or of the pipeline run here
    if not (folder / "registration" / Registration.result).is_file():
        yield f"{folder.name}: not finished, no {folder / 'registration'} yet"
        return
    metrics = Metrics.load(folder / "report")
    entry = read_json(folder / "registration" / Registration.result, made_by="register")
    alias = "champion" if entry["promoted"] else "challenger"
    yield f"{folder.name}: {entry['model_name']} version {entry['version']} is {alias}: {entry['reason']}"
    for name, score in metrics.scores.items():
        context = metrics.context[name]
        others = f"real examples {context.real:.4g}, pure noise {context.noise:.4g}, untrained {context.untrained:.4g}"
        yield f"  {name:<20} {score:.4g}   ({others})"
    yield from (f"  {doubt}" for doubt in metrics.doubts())
    for degradation, scores in metrics.restoration.items():
        for metric, compared in scores.items():
            others = f"baseline {compared.baseline:.4g}, as observed {compared.observed:.4g}"
            yield f"  {metric + ' ' + degradation:<20} {compared.restored:.4g}   ({others})"
    yield f"  training  {folder / 'training.html'}"
    yield f"  samples   {folder / 'pages' / 'samples.html'}"
    yield f"  report    {folder / 'pages' / 'evaluation.html'}"
    yield f"  model     models:/{entry['model_name']}@{alias}"
