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
    scores_page: Output[HTML],
) -> str:
    """Compare samples and restorations with held-out examples; the scores are on the run's page.

    Args:
        recipe: The text of the recipe (TOML).
        dataset: The training arrays and the held-out ones.
        dataset_hash: Content hash of the data set.
        model: The trained model.
        model_hash: Content hash of the model.
        samples: What the model generated.
        samples_hash: Content hash of the samples.
        restored: What the model restored.
        restored_hash: Content hash of the restorations.
        weights_hash: SHA-256 of the weights of the feature network; empty where the recipe needs none.

    Returns:
        report: metrics.json with all scores, their intervals and protocols.
        metrics: The scores, lower is better.
        scores_page: The scores and what they were computed from, to look at.
        Output: Content hash of the report.
    """
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
        page=scores_page.path,
    )
    metrics.metadata.update(scores)
    report.metadata.update(facts)
    return facts["content_hash"]
