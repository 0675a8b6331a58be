"""evaluate: real examples, a model, its samples and restorations in, scores and a report out."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    recipe: str,
    dataset: Input[Dataset],
    dataset_hash: str,
    model: Input[Model],
    model_hash: str,
    samples: Input[Artifact],
    samples_hash: str,
    restored: Input[Artifact],
    restored_hash: str,
    weights_hash: str,
    report: Output[Artifact],
    metrics: Output[Metrics],
    page: Output[HTML],
) -> str:
    """Compare samples with held-out examples; the scores are on the run's page. Return the report's content hash."""
    from linnet import tasks

    scores, facts = tasks.evaluate(
        recipe,
        dataset=dataset.path,
        dataset_hash=dataset_hash,
        model=model.path,
        model_hash=model_hash,
        samples=samples.path,
        samples_hash=samples_hash,
        restored=restored.path,
        restored_hash=restored_hash,
        weights_hash=weights_hash,
        out=report.path,
        page=page.path,
    )
    metrics.metadata.update(scores)
    report.metadata.update(facts)
    return facts["content_hash"]
