r"""The DAG: look, ingest, preprocess, train, sample, restore, evaluate, gate; and close, however a run ends.

    look --changed--> ingest -> preprocess -> train -> sample  -> evaluate -> gate
      \-unchanged--> the end                       \-> restore -/            close: at the end of every run

Content hashes travel beside the artifacts. They are what makes a cached result truthful: a task is skipped only if its
texts, the hashes of its data and the image's digest are those of an earlier run. `look` and `gate` look at the world
outside, or change it: they and `close` are never cached. Every task costs a cluster two pods and twenty seconds, and
every layer one: ADR 19 counts them.
"""

from kfp import dsl
from kfp.dsl import PipelineTask

from components.close import close
from components.evaluate import evaluate
from components.gate import gate
from components.ingest import ingest
from components.look import look
from components.preprocess import preprocess
from components.restore import restore
from components.sample import sample
from components.train import train
from pipelines.clusters import configure_task, configure_training, set_training_env


def _make_model(look_task: PipelineTask, *, source: str, num_nodes: int) -> None:
    """The tasks from ingest to gate."""
    plan = look_task.outputs
    ingest_task = ingest(data=plan["data"], source=source, fingerprint=plan["fingerprint"])
    configure_task(ingest_task, "cpu-large", retries=3, cache=True).set_display_name("Ingest")
    preprocess_task = preprocess(
        data=plan["data"], raw=ingest_task.outputs["raw"], raw_hash=ingest_task.outputs["Output"]
    )
    configure_task(preprocess_task, "cpu-large", retries=2, cache=True).set_display_name("Preprocess")
    data = {"dataset": preprocess_task.outputs["dataset"], "dataset_hash": preprocess_task.outputs["Output"]}
    train_task = train(training=plan["training"], num_nodes=num_nodes, **data)
    configure_training(train_task).set_display_name("Train")
    trained = {"model": train_task.outputs["model"], "model_hash": train_task.outputs["Output"]}
    sample_task = sample(recipe=plan["recipe"], **trained)
    configure_task(sample_task, "sample", retries=2, cache=True).set_display_name("Sample")
    restore_task = restore(recipe=plan["recipe"], **data, **trained)
    configure_task(restore_task, "gpu", retries=2, cache=True).set_display_name("Restore")
    evaluate_task = evaluate(
        recipe=plan["recipe"],
        **data,
        **trained,
        samples=sample_task.outputs["samples"],
        samples_hash=sample_task.outputs["Output"],
        restored=restore_task.outputs["restored"],
        restored_hash=restore_task.outputs["Output"],
        weights_hash=plan["weights_hash"],
    )
    configure_task(evaluate_task, "gpu", retries=2, cache=True).set_display_name("Evaluate")
    gate_task = gate(
        recipe=plan["recipe"],
        **trained,
        report=evaluate_task.outputs["report"],
        report_hash=evaluate_task.outputs["Output"],
        source=source,
        fingerprint=plan["fingerprint"],
    )
    configure_task(gate_task, "cpu-small", retries=3, cache=False).set_display_name("Gate")


@dsl.pipeline(
    name="linnet-training",
    description="From a source of data and a recipe to a scored model in the registry, and perhaps a new champion.",
)
def training_pipeline(
    recipe: str,
    overrides: str = "",
    source: str = "",
    num_nodes: int = 1,
    only_if_changed: bool = False,
) -> None:
    """Every stage of one recipe.

    Args:
        recipe: The name of a recipe in the image (birds-demo), the s3:// address of one, or its text (TOML).
        overrides: Changes to the recipe, separated by spaces: train.seed=1 train.batch_size=64
        source: Where the raw data comes from: empty for the built-in set, caltech, hf:OWNER/NAME@REVISION,
            s3://bucket/prefix/, s3://bucket/archive.tgz, or dvc:REPOSITORY@REVISION.
        num_nodes: Nodes to train on, each with the GPUs of the cluster's profile.
        only_if_changed: Stop early if source, recipe and code are those of a version already in the registry.
    """
    close_task = configure_task(close(), "cpu-small", retries=5, cache=False, minutes=30).set_display_name("Close")
    with dsl.ExitHandler(close_task, name="Train and register"):
        look_task = look(
            recipe=recipe,
            overrides=overrides,
            source=source,
            num_nodes=num_nodes,
            only_if_changed=only_if_changed,
        )
        set_training_env(configure_task(look_task, "cpu-small", retries=2, cache=False, minutes=20)).set_display_name(
            "Look"
        )
        with dsl.If(look_task.outputs["Output"] == "changed", name="Something to learn"):
            _make_model(look_task, source=source, num_nodes=num_nodes)
