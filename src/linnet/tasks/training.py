"""Training on this machine: in one process, or in several that torch's elastic agent starts."""

import tempfile
from pathlib import Path

import torch

from linnet import storage
from linnet.launch import torchrun
from linnet.models.device import DeviceError
from linnet.models.memory import available_on
from linnet.recipe import CompactUNet, NamedTrainingRecipe
from linnet.stages import train as stage
from linnet.stages.preprocess import usable_cores
from linnet.training.memory import describe_batch

CHECKPOINT_SECONDS = 60.0
CPU_EXAMPLES_PER_PROCESS = 4


class MissingGpusError(DeviceError):
    """A pod sees fewer GPUs than it requested; on another machine it may see all."""

    may_pass = True


def default_processes(recipe: NamedTrainingRecipe, device: torch.device) -> int:
    """One process for each GPU; on a CPU `cpu_processes`."""
    if device.type == "cuda":
        return max(1, torch.cuda.device_count())
    return cpu_processes(recipe, usable_cores())


def cpu_processes(recipe: NamedTrainingRecipe, cores: int) -> int:
    """As many processes as leave four examples of a batch or more to each, on so many cores.

    Processes of one thread lose little to busy neighbours, where threads wait for each other many times a step
    (docs/performance.md). Batch norm over several processes needs GPUs.
    """
    if isinstance(recipe.model, CompactUNet) and recipe.model.noise_injection == "input":
        return 1
    size = recipe.train.batch_size
    counts = (count for count in range(1, max(1, cores) + 1) if size % count == 0)
    return max(count for count in counts if count == 1 or size // count >= CPU_EXAMPLES_PER_PROCESS)


def check_gpus(requested: int) -> None:
    """Raises MissingGpusError if this pod has fewer GPUs than it requested: a week on the CPU helps nobody."""
    if (visible := torch.cuda.device_count()) < requested:
        raise MissingGpusError(
            f"this pod requested {requested} GPUs and torch sees {visible}; check the node's driver and device plugin, "
            "or set gpus in the cluster's profile"
        )


def on_this_machine(
    recipe: NamedTrainingRecipe,
    *,
    dataset: Path,
    out: Path,
    work: str,
    device: torch.device,
    processes: int = 0,
    checkpoint_every_seconds: float = CHECKPOINT_SECONDS,
    keep_checkpoint: bool = False,
    track: bool = True,
    passes: int = 1,
    deterministic: bool = False,
) -> None:
    """Train in `processes` processes (0: `default_processes`).

    Where `work` is an s3:// address, checkpoints outlive this machine.
    """
    remote = storage.is_s3_url(work)
    local = Path(tempfile.gettempdir()) / "linnet-work" if remote else Path(work)
    processes, free = processes or default_processes(recipe, device), available_on(device)
    try:
        torchrun.start(
            stage.run,
            recipe,
            processes=processes,
            dataset=dataset,
            out=out,
            work=local / recipe.name,
            mirror=storage.join(work, recipe.name) if remote else None,
            device=device,
            checkpoint_every_seconds=checkpoint_every_seconds,
            keep_checkpoint=keep_checkpoint,
            track=track,
            passes=passes,
            deterministic=deterministic,
        )
    except torchrun.KilledError as error:
        raise torchrun.KilledError(
            f"{error}. {describe_batch(recipe.training(), device, free, ranks=processes, passes=passes)}"
        ) from None
