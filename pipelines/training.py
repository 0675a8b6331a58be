"""The DAG: check, ingest, compare, preprocess, train, sample in shards, restore, evaluate, register behind the gate.

    check -> ingest -> compare --changed--> preprocess -> train -> sample x shards -> collect -> evaluate -> gate
                               --unchanged--> the end           -> restore --------------------^
    gate --promote--> register as champion      close: at the end of every run, however it ends
         --keep-----> register as challenger

Content hashes travel beside the artifacts. They are what makes a cached result truthful: a task is skipped only if
its texts, the hashes of its data and the image's digest are those of an earlier run. Tasks that look at the world
outside (check, ingest, compare) or change it (gate, register, close) are never cached.
"""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Model

from components.check import check
from components.close import close
from components.collect import collect
from components.compare import compare
from components.evaluate import evaluate
from components.gate import gate
from components.ingest import ingest
from components.preprocess import preprocess
from components.register import register
from components.restore import restore
from components.sample import sample
from components.train import train
from pipelines.clusters import configure_task, pod_resources, set_trainjob_env


class Samples(NamedTuple):
    """What the sampling pipeline returns."""

    samples: Artifact
    samples_hash: str


# A pipeline of its own: kfp.local hands the body of a loop the loop's item in place of an outer task's output.
@dsl.pipeline(name="linnet-sampling", description="Generate samples in parallel shards, each sample from its own seed.")
def sampling(
    recipe: str, model: dsl.Input[Model], model_hash: str, shard_indices: list[int], num_shards: int
) -> Samples:
    """The samples of a model: the same bits however many shards there are.

    Args:
        recipe: The text of the recipe (TOML).
        model: The trained model.
        model_hash: Content hash of the model.
        shard_indices: One number for each shard, from 0.
        num_shards: How many shards there are.
    """
    with dsl.ParallelFor(shard_indices, name="shards") as shard_index:
        sample_task = sample(
            recipe=recipe, model=model, model_hash=model_hash, shard_index=shard_index, num_shards=num_shards
        )
        configure_task(sample_task, "gpu", retries=2, cache=True).set_display_name("Sample a shard")
    shards = dsl.Collected(sample_task.outputs["shard"])
    collect_task = collect(recipe=recipe, model=model, model_hash=model_hash, shards=shards)
    configure_task(collect_task, "cpu-small", retries=2, cache=True).set_display_name("Collect the shards")
    return Samples(collect_task.outputs["samples"], collect_task.outputs["Output"])


@dsl.pipeline(
    name="linnet-training",
    description="From a source of data and a recipe to a scored model in the registry, and perhaps a new champion.",
)
def training_pipeline(
    recipe: str,
    source: str = "",
    num_nodes: int = 1,
    sample_tasks: int = 2,
    only_if_changed: bool = False,
) -> None:
    """Every stage of one recipe.

    Args:
        recipe: The text of a recipe (TOML): every number that changes the result.
        source: Where the raw data comes from: empty for the built-in set, caltech, hf:OWNER/NAME@REVISION,
            s3://bucket/prefix/, s3://bucket/archive.tgz, or dvc:REPOSITORY@REVISION.
        num_nodes: Nodes to train on. 1 trains in the task's own pod on all its GPUs; more make a Kubeflow TrainJob.
        sample_tasks: The largest number of tasks that share the sampling; it changes no sample.
        only_if_changed: Stop early if data, recipe and code are those of a version already in the registry.
    """
    close_task = configure_task(close(), "cpu-small", retries=5, cache=False).set_display_name("Close the MLflow run")
    with dsl.ExitHandler(close_task, name="train and register"):
        check_task = check(
            recipe=recipe,
            source=source,
            num_nodes=num_nodes,
            sample_tasks=sample_tasks,
            training_pod=pod_resources("train"),
            waiting_pod=pod_resources("cpu-small"),
        )
        set_trainjob_env(configure_task(check_task, "cpu-small", retries=0, cache=False)).set_display_name("Check")
        ingest_task = configure_task(ingest(recipe=recipe, source=source), "cpu-large", retries=3, cache=False)
        ingest_task.after(check_task).set_display_name("Ingest")
        raw, raw_hash = ingest_task.outputs["raw"], ingest_task.outputs["Output"]
        compare_task = compare(recipe=recipe, raw=raw, raw_hash=raw_hash, only_if_changed=only_if_changed)
        configure_task(compare_task, "cpu-small", retries=3, cache=False).set_display_name("Compare with the registry")
        with dsl.If(compare_task.outputs["Output"] == "changed", name="something to learn"):
            preprocess_task = preprocess(recipe=recipe, raw=raw, raw_hash=raw_hash)
            configure_task(preprocess_task, "cpu-large", retries=2, cache=True).set_display_name("Preprocess")
            dataset, dataset_hash = preprocess_task.outputs["dataset"], preprocess_task.outputs["Output"]
            train_task = train(
                recipe=recipe,
                dataset=dataset,
                dataset_hash=dataset_hash,
                num_nodes=num_nodes,
                pod_gpus=check_task.outputs["pod_gpus"],
                pod_cpu=check_task.outputs["pod_cpu"],
                pod_memory=check_task.outputs["pod_memory"],
            )
            configure_task(train_task, "train", retries=5, cache=True, resources_from=check_task)
            set_trainjob_env(train_task).set_display_name("Train")
            model, model_hash = train_task.outputs["model"], train_task.outputs["Output"]
            sampling_task = sampling(
                recipe=recipe,
                model=model,
                model_hash=model_hash,
                shard_indices=check_task.outputs["shard_indices"],
                num_shards=check_task.outputs["num_shards"],
            ).set_display_name("Sample")
            restore_task = restore(
                recipe=recipe, dataset=dataset, dataset_hash=dataset_hash, model=model, model_hash=model_hash
            )
            configure_task(restore_task, "gpu", retries=2, cache=True).set_display_name("Restore")
            evaluate_task = evaluate(
                recipe=recipe,
                dataset=dataset,
                dataset_hash=dataset_hash,
                model=model,
                model_hash=model_hash,
                samples=sampling_task.outputs["samples"],
                samples_hash=sampling_task.outputs["samples_hash"],
                restored=restore_task.outputs["restored"],
                restored_hash=restore_task.outputs["Output"],
                weights_hash=check_task.outputs["weights_hash"],
            )
            configure_task(evaluate_task, "gpu", retries=2, cache=True).set_display_name("Evaluate")
            result = {
                "recipe": recipe,
                "model": model,
                "model_hash": model_hash,
                "report": evaluate_task.outputs["report"],
                "report_hash": evaluate_task.outputs["Output"],
            }
            gate_task = configure_task(gate(**result), "cpu-small", retries=3, cache=False).set_display_name("Gate")
            with dsl.If(gate_task.outputs["Output"] == "promote", name="promote"):
                register_task = configure_task(register(**result), "cpu-small", retries=3, cache=False)
                register_task.set_display_name("Register as champion")
            with dsl.Else(name="keep the champion"):
                register_task = configure_task(register(**result), "cpu-small", retries=3, cache=False)
                register_task.set_display_name("Register as challenger")
