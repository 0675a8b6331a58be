"""The DAG: check, ingest, compare, preprocess, train, sample in parts, restore, evaluate, and register behind the gate.

    check -> ingest -> compare --changed--> preprocess -> train -> sample x parts -> collect -> evaluate -> gate
                               --unchanged--> the end           -> restore -------------------^
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
from pipelines.resources import knows_trainjobs, place, pod


class Drawn(NamedTuple):
    """What the sampling pipeline gives back."""

    samples: Artifact
    samples_hash: str


# A pipeline of its own: kfp.local hands the body of a loop the loop's item in place of an outer task's output.
@dsl.pipeline(name="linnet-sampling", description="Draw images in parallel parts, each image from its own seed.")
def sampling(recipe: str, model: dsl.Input[Model], model_hash: str, numbers: list[int], parts: int) -> Drawn:
    """The samples of a model: the same bits however many parts draw them."""
    with dsl.ParallelFor(numbers, name="parts") as number:
        drawn = sample(recipe=recipe, model=model, model_hash=model_hash, part=number, parts=parts)
        place(drawn, "draw", retries=2, cache=True).set_display_name("sample a part")
    joined = collect(recipe=recipe, model=model, model_hash=model_hash, parts=dsl.Collected(drawn.outputs["images"]))
    place(joined, "little", retries=2, cache=True).set_display_name("collect")
    return Drawn(joined.outputs["samples"], joined.outputs["Output"])


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
    """The whole way of one recipe.

    Args:
        recipe: The text of a recipe (TOML): every number that changes the result.
        source: Where the raw data comes from: empty for the built-in set, caltech, hf:OWNER/NAME@REVISION,
            s3://bucket/prefix/, s3://bucket/archive.tgz, or dvc:REPOSITORY@REVISION.
        num_nodes: Nodes to train on. 1 trains in the task's own pod on all its GPUs; more make a Kubeflow TrainJob.
        sample_tasks: Tasks that share the drawing of samples; their number changes no image.
        only_if_changed: Stop early if data, recipe and code are those of a version already in the registry.
    """
    ended = place(close(), "little", retries=5, cache=False).set_display_name("close the MLflow run")
    with dsl.ExitHandler(ended, name="train and register"):
        checked = check(
            recipe=recipe,
            source=source,
            num_nodes=num_nodes,
            sample_tasks=sample_tasks,
            training_pod=pod("train"),
            waiting_pod=pod("little"),
        )
        knows_trainjobs(place(checked, "little", retries=0, cache=False))
        brought = place(ingest(recipe=recipe, source=source), "data", retries=3, cache=False).after(checked)
        raw, raw_hash = brought.outputs["raw"], brought.outputs["Output"]
        compared = compare(recipe=recipe, raw=raw, raw_hash=raw_hash, only_if_changed=only_if_changed)
        place(compared, "little", retries=3, cache=False).set_display_name("compare with the registry")
        with dsl.If(compared.outputs["Output"] == "changed", name="something to learn"):
            prepared = place(preprocess(recipe=recipe, raw=raw, raw_hash=raw_hash), "data", retries=2, cache=True)
            dataset, dataset_hash = prepared.outputs["dataset"], prepared.outputs["Output"]
            trained = train(
                recipe=recipe,
                dataset=dataset,
                dataset_hash=dataset_hash,
                num_nodes=num_nodes,
                pod_gpus=checked.outputs["pod_gpus"],
                pod_cpu=checked.outputs["pod_cpu"],
                pod_memory=checked.outputs["pod_memory"],
            )
            knows_trainjobs(place(trained, "train", retries=5, cache=True, sizes=checked))
            model, model_hash = trained.outputs["model"], trained.outputs["Output"]
            drawn = sampling(
                recipe=recipe,
                model=model,
                model_hash=model_hash,
                numbers=checked.outputs["numbers"],
                parts=checked.outputs["parts"],
            )
            repaired = restore(
                recipe=recipe, dataset=dataset, dataset_hash=dataset_hash, model=model, model_hash=model_hash
            )
            place(repaired, "draw", retries=2, cache=True)
            measured = evaluate(
                recipe=recipe,
                dataset=dataset,
                dataset_hash=dataset_hash,
                model=model,
                model_hash=model_hash,
                samples=drawn.outputs["samples"],
                samples_hash=drawn.outputs["samples_hash"],
                restored=repaired.outputs["restored"],
                restored_hash=repaired.outputs["Output"],
                weights_hash=checked.outputs["weights_hash"],
            )
            place(measured, "draw", retries=2, cache=True)
            result = {
                "recipe": recipe,
                "model": model,
                "model_hash": model_hash,
                "report": measured.outputs["report"],
                "report_hash": measured.outputs["Output"],
            }
            asked = place(gate(**result), "little", retries=3, cache=False)
            with dsl.If(asked.outputs["Output"] == "promote", name="promote"):
                place(register(**result), "little", retries=3, cache=False).set_display_name("register as champion")
            with dsl.Else(name="keep the champion"):
                place(register(**result), "little", retries=3, cache=False).set_display_name("register as challenger")
