"""On a GPU: the same stages in every precision, the same images as on a CPU."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from linnet.commands import describe
from linnet.models.build import build_network
from linnet.models.device import to_device
from linnet.recipe import Recipe
from linnet.stages import preprocess, sample
from linnet.training import examples
from linnet.training.checkpoint import CheckpointStore
from linnet.training.distributed import DistributedContext
from linnet.training.execution import EAGER, Execution
from linnet.training.loss import DiffusionLoss
from linnet.training.state import TrainState, new_state
from linnet.training.step import TrainStep
from support.statistics import image_statistics
from support.tiny import tiny_raw_data, tiny_recipe, write_recipe
from support.training import train_on

CUDA = torch.device("cuda")
UNET = (
    "model={kind='unet', channels=16, channel_multipliers=[1, 2], blocks_per_level=1, "
    "attention_heads_by_level=[0, 1], middle_attention_heads=1, norm_groups=8, timestep_injection='shift', "
    "resampling='conv', frequency_layer={kind='none'}, dropout=0.5}"
)
ADAMW = "train.optimizer={kind='adamw', beta1=0.9, beta2=0.99, weight_decay=0.01}"
MUON = "train.optimizer={kind='muon', momentum=0.95, beta1=0.9, beta2=0.99, weight_decay=0.01}"
DIT = "model={kind='dit', patch_size=4, patch_overlap=2, width=32, num_blocks=2, num_heads=2, mlp_ratio=2, dropout=0.3}"

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU here"),
]


def train_on_gpu(recipe: Recipe, folder: Path) -> Path:
    train_on(recipe, folder / "dataset", folder / "model", device=CUDA)
    return folder / "model"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    recipe = tiny_recipe()
    preprocess.run(recipe.data, raw=tiny_raw_data(tmp_path / "raw"), out=tmp_path / "dataset", workers=1)
    return tmp_path


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_trains_and_samples(folder: Path, precision: str) -> None:
    recipe = tiny_recipe(f"train.precision={precision}", f"sample.precision={precision}")
    model = train_on_gpu(recipe, folder)
    sample.run(recipe, model=model, out=folder / "samples", device=torch.device("cuda"), batch_size=5)
    assert (folder / "samples" / "noising.npy").is_file()


def test_gpu_and_cpu_generate_the_same_images(folder: Path) -> None:
    """One model, one seed: noise comes from the CPU's streams, so only rounding differs."""
    from linnet.inference.diffusion_model import DiffusionModel

    recipe = tiny_recipe()
    model = train_on_gpu(recipe, folder)
    images = []
    for device in ("cpu", "cuda"):
        diffusion_model = DiffusionModel.load(model, weights="ema", device=torch.device(device))
        x = diffusion_model.sample(
            recipe.sample.sampler,
            seed=3,
            indices=[0, 1, 2],
            conditions=[0, 1, 2],
            guidance_scale=2.0,
            clip_x0=True,
            precision="fp32",
        )
        images.append(x.cpu())
    torch.testing.assert_close(images[0], images[1], rtol=1e-2, atol=1e-2)


def test_describe_measures_gpu_memory() -> None:
    assert describe.run(tiny_recipe(), device=torch.device("cuda")).projected_memory_bytes > 0


@pytest.mark.parametrize("model", ["model.stem_channels=8", UNET, DIT], ids=["compact", "unet", "dit"])
def test_deterministic_kernels_give_the_same_bits_again(folder: Path, model: str) -> None:
    """In processes of their own: cuBLAS reads its settings once."""
    from linnet.hashes import folder_hash

    recipe = write_recipe(folder, tiny_recipe(model, "train.precision=bf16"))
    hashes = set()
    for number in range(2):
        build = folder / f"build{number}"
        (build / "birds-tiny").mkdir(parents=True)
        (build / "birds-tiny" / "dataset").symlink_to(folder / "dataset")
        command = [sys.executable, "-m", "linnet", "train", str(recipe), "--build", str(build), "--deterministic"]
        subprocess.run([*command, "--no-track", "--work", str(folder / f"work{number}")], check=True)
        hashes.add(folder_hash(build / "birds-tiny" / "model"))
    assert len(hashes) == 1


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_train_what_one_trains(folder: Path) -> None:
    """Gradients are averaged by NCCL; in float32 the weights differ by rounding."""
    from safetensors.torch import load_file

    from linnet.tasks import training

    models = []
    for processes in (1, 2):
        out = folder / f"model{processes}"
        training.on_this_machine(
            tiny_recipe(),
            dataset=folder / "dataset",
            out=out,
            work=str(folder / f"work{processes}"),
            device=torch.device("cuda"),
            processes=processes,
            track=False,
        )
        models.append(load_file(out / "ema.safetensors"))
    assert max(float((models[0][key] - models[1][key]).abs().max()) for key in models[0]) < 1e-3


def new_training(*overrides: str, execution: Execution, start_step: int = 0) -> tuple[TrainState, TrainStep]:
    """Of thirty-two random images, on the GPU."""
    recipe = tiny_recipe(*overrides).training()
    torch.manual_seed(0)
    network = to_device(build_network(recipe), CUDA)
    state = new_state(network, recipe.train, DistributedContext.single_process(CUDA))
    objective = DiffusionLoss(
        recipe,
        image_statistics(class_names=[str(n) for n in range(8)], class_counts=[4] * 8),
        np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3), dtype=np.uint8),
        np.arange(32, dtype=np.int64) % 8,
        state.distributed,
        noise_level=network.noise_level,
        start_step=start_step,
    )
    state.network.train()
    return state, TrainStep(state, recipe.train, objective, execution)


def weights(state: TrainState) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.ema.network.state_dict().items()}


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize(
    ("precision", "optimizer"), [("fp32", ADAMW), ("bf16", ADAMW), ("fp16", ADAMW), ("fp32", MUON), ("fp16", MUON)]
)
def test_a_replayed_graph_trains_what_single_kernels_train(precision: str, optimizer: str, dropout: float) -> None:
    """Dropout, too: its generator is restarted before every replay."""
    model = UNET.replace("dropout=0.5", f"dropout={dropout}")
    states = []
    for graphed in (False, True):
        settings = (model, optimizer, f"train.precision={precision}")
        state, step = new_training(*settings, execution=Execution(False, graphed))
        for _ in range(12):
            step()
        assert not state.update.read().has_failed
        states.append(state)
    eager, graph = map(weights, states)
    tolerance = 1e-4 if precision == "fp32" else 2e-3
    torch.testing.assert_close(graph, eager, rtol=0, atol=tolerance)
    assert states[0].update.close_sums() == pytest.approx(states[1].update.close_sums(), rel=1e-2)


@pytest.mark.filterwarnings("ignore")  # of what torch calls a prototype, and its advice on TF32
@pytest.mark.parametrize(("compiled", "optimizer"), [(False, ADAMW), (True, ADAMW), (False, MUON)])
def test_no_step_waits_for_the_gpu(compiled: bool, optimizer: str) -> None:
    state, step = new_training(UNET, optimizer, execution=Execution(compiled, graphed=True))
    for _ in range(5):  # the first ones choose algorithms, compile and capture
        step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(5):
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert state.update.read().steps == 10


def test_a_failed_step_changes_nothing_in_a_graph() -> None:
    state, step = new_training(
        "train.learning_rate=1e30", "train.max_gradient_norm=1e30", execution=Execution(False, True)
    )
    for _ in range(20):
        step()
    reading = state.update.read()
    assert reading.has_failed
    assert reading.steps < 20
    assert all(bool(tensor.isfinite().all()) for tensor in state.network.parameters())


def test_examples_that_do_not_fit_are_fetched_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 5), dtype=np.uint8)
    found = []
    for share in (0.3, 0.0):
        monkeypatch.setattr(examples, "RESIDENT_SHARE", share)
        batches = (np.array([n % 40, (7 * n) % 40, (3 * n) % 40, 5]) for n in itertools.count())
        rows = examples.load_rows(images, batches, slice(1, 3), CUDA)
        found.append([next(rows) for _ in range(50)])
    for resident, fetched in zip(*found, strict=True):
        assert torch.equal(resident.indices, fetched.indices)
        assert torch.equal(resident.examples, fetched.examples)
        assert torch.equal(fetched.examples.cpu(), torch.from_numpy(images[fetched.indices.cpu().numpy()[1:3]]))


def test_a_stopped_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    whole, step = new_training(UNET, execution=EAGER)
    for _ in range(10):
        step()
    first, step = new_training(UNET, execution=EAGER)
    for _ in range(6):
        step()
    store = CheckpointStore(tmp_path, every_seconds=1e9)
    store.save(first.state_dict())
    store.wait()
    second, step = new_training(UNET, execution=EAGER, start_step=6)
    saved = store.load(CUDA)
    assert saved is not None
    second.load_state_dict(saved)
    for _ in range(4):
        step()
    torch.testing.assert_close(weights(second), weights(whole), rtol=0, atol=1e-4)  # atomic additions
