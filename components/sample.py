"""sample: a model in, one shard of the samples out."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def sample(
    recipe: str, model: Input[Model], model_hash: str, shard_index: int, num_shards: int, shard: Output[Artifact]
) -> None:
    """Generate the samples of one shard, each from its own seed.

    Args:
        recipe: The text of the recipe (TOML).
        model: The trained model.
        model_hash: Content hash of the model.
        shard_index: Which shard, from 0.
        num_shards: How many shards there are; their number changes no sample.

    Returns:
        shard: The samples of this shard and their indices.
    """
    from linnet import tasks

    facts = tasks.sample(
        recipe,
        model=model.path,
        model_hash=model_hash,
        out=shard.path,
        shard_index=shard_index,
        num_shards=num_shards,
    )
    shard.metadata.update(facts)
