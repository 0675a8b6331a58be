"""How windows of audio are stored changes the size of the dataset, and not one bit of what is trained."""

import numpy as np
import pytest
import torch
from torch import Tensor

from linnet.artifacts import Dataset, Model
from linnet.data.arrays import open_array
from linnet.diffusion.objective import Prediction
from linnet.diffusion.schedule import build_schedule
from linnet.models.build import build_network
from linnet.models.denoising_network import DenoisingNetwork
from linnet.recipe import NoiseLevel
from linnet.stages import preprocess
from linnet.training.distributed import DistributedContext
from linnet.training.loss import DiffusionLoss
from support.audio_models import CPU, Made, made
from support.training import train_on

PREDICTIONS: list[Prediction] = ["epsilon", "x0", "v"]


@pytest.fixture(scope="module", params=["voices", "music"])
def waveform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def spectrogram(waveform: Made, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The same recipe with finished spectrograms stored."""
    folder = tmp_path_factory.mktemp("spectrogram")
    data = waveform.audio.model_copy(update={"storage": "spectrogram"})
    recipe = waveform.recipe.model_copy(update={"data": data})
    preprocess.run(data, raw=waveform.raw, out=folder / "dataset", workers=1)
    train_on(recipe, folder / "dataset", folder / "model")
    return Made(recipe, waveform.raw, folder / "dataset", folder / "model")


def test_both_storages_train_the_same_bits(waveform: Made, spectrogram: Made) -> None:
    for name in (Model.weights, Model.ema_weights, Model.history, Model.statistics):
        assert (waveform.model / name).read_bytes() == (spectrogram.model / name).read_bytes(), name
    losses = (waveform.model / Model.history).read_text().splitlines()
    assert len(losses) == 3, "a head and two rows: 8 steps, one row for 4"
    untrained = build_network(waveform.recipe.training()).state_dict()
    trained = waveform.diffusion_model().network.state_dict()
    assert any(not torch.equal(trained[name], value) for name, value in untrained.items())


def test_a_waveform_takes_a_quarter_or_an_eighth_of_the_bytes(waveform: Made, spectrogram: Made) -> None:
    """16 bits a sample; 75 % of overlap makes four times as many magnitudes, of which each takes 32 bits.

    (16 - 1) * 16 samples of 2 bytes stand against 32 * 16 or 2 * 32 * 16 numbers of 4 bytes: the edges of so short a
    window cost a sixteenth. Without them it is 2 * hop against 4 * bins * channels a frame: a quarter, an eighth.
    """
    small, large = (
        np.load(one.dataset / Dataset.training_examples(one.audio), mmap_mode="r") for one in (waveform, spectrogram)
    )
    assert len(small) == len(large) == waveform.statistics.train_count
    channels, _, frames = waveform.audio.shape
    assert large.nbytes / small.nbytes == 4 * channels * frames / (frames - 1)
    hop, bins = waveform.audio.stft.hop_samples, waveform.audio.stft.num_bins
    assert (2 * hop) / (4 * bins * channels) == {1: 1 / 4, 2: 1 / 8}[channels]
    others = {path.name for path in waveform.dataset.iterdir()} ^ {path.name for path in spectrogram.dataset.iterdir()}
    assert others == {Dataset.spectrograms("train")}


def diffusion_loss(one: Made, *, distributed: DistributedContext, start_step: int = 0) -> DiffusionLoss:
    return DiffusionLoss(
        one.recipe.training(),
        one.statistics,
        np.asarray(open_array(one.dataset / Dataset.training_examples(one.audio))),
        np.asarray(open_array(one.dataset / Dataset.labels("train"))),
        distributed,
        noise_level="timestep",
        start_step=start_step,
    )


def test_a_stored_spectrogram_is_trained_on_as_its_waveform_is(waveform: Made, spectrogram: Made) -> None:
    small, large = (
        torch.from_numpy(np.array(open_array(one.dataset / Dataset.training_examples(one.audio))[:5]))
        for one in (waveform, spectrogram)
    )
    assert (small.dtype, large.dtype) == (torch.int16, torch.float32)
    assert torch.equal(waveform.codec.encode(small), spectrogram.codec.encode(large))


class Oracle(DenoisingNetwork):
    """Predicts exactly, for examples that are all `x0`: the example, the noise, or the velocity."""

    noise_level: NoiseLevel = "timestep"

    def __init__(self, prediction: Prediction, x0: Tensor, alpha_bar: Tensor) -> None:
        super().__init__()
        self.prediction, self.x0, self.alpha_bar = prediction, x0.double(), alpha_bar

    def forward(self, x_t: Tensor, noise_level: Tensor, condition: Tensor | None) -> Tensor:
        bar = self.alpha_bar[noise_level.long()].view(-1, 1, 1, 1)
        noise = (x_t - bar.sqrt() * self.x0) / (1 - bar).sqrt()
        outputs = {
            "epsilon": noise,
            "x0": self.x0.expand_as(x_t),
            "v": bar.sqrt() * noise - (1 - bar).sqrt() * self.x0,
        }
        return outputs[self.prediction]


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_loss_is_zero_for_the_prediction_that_the_recipe_names(waveform: Made, prediction: Prediction) -> None:
    recipe = waveform.recipe.training()
    recipe = recipe.model_copy(update={"diffusion": recipe.diffusion.model_copy(update={"prediction": prediction})})
    windows = np.asarray(open_array(waveform.dataset / Dataset.waveforms("train")))
    loudest = windows[[np.square(windows.astype(float)).sum(axis=1).argmax()]]
    examples, labels = np.repeat(loudest, 8, axis=0), np.zeros(8, dtype=np.int64)
    x0, schedule = waveform.codec.encode(torch.from_numpy(loudest)), build_schedule(recipe.diffusion.schedule)
    for output in PREDICTIONS:
        compute = DiffusionLoss(
            recipe,
            waveform.statistics,
            examples,
            labels,
            DistributedContext.single_process(CPU),
            noise_level="timestep",
            start_step=0,
        )
        loss = float(compute.loss(Oracle(output, x0, schedule.alpha_bar), compute.batch(0)))
        assert loss < 1e-6 if output == prediction else loss > 0.1, (output, loss)


def test_the_untrained_loss_is_the_mean_square_of_a_target(waveform: Made) -> None:
    """An output of zero costs 1, whatever the network predicts: all three targets have that mean square."""
    network = build_network(waveform.recipe.training())
    compute = diffusion_loss(waveform, distributed=DistributedContext.single_process(CPU))
    with torch.no_grad():
        losses = [float(compute.loss(network, compute.batch(step))) for step in range(48)]
    assert np.mean(losses) == pytest.approx(1, abs=0.15)


def test_a_step_depends_on_its_number_alone(waveform: Made) -> None:
    """So a run that was stopped goes on to the same bits."""
    network = waveform.diffusion_model().network
    whole = diffusion_loss(waveform, distributed=DistributedContext.single_process(CPU))
    losses = [float(whole.loss(network, whole.batch(step))) for step in range(3)]
    later = diffusion_loss(waveform, distributed=DistributedContext.single_process(CPU), start_step=2)
    assert float(later.loss(network, later.batch(2))) == losses[2]
    assert len(set(losses)) == 3


def test_two_ranks_have_the_conditions_and_the_noise_of_one(waveform: Made) -> None:
    """Each draws for the whole batch and takes its rows, so the mean of their losses is that of one rank."""
    network = waveform.diffusion_model().network
    alone = diffusion_loss(waveform, distributed=DistributedContext.single_process(CPU))
    pair = [diffusion_loss(waveform, distributed=DistributedContext(rank, 2, CPU)) for rank in range(2)]
    for step in range(4):
        shares = [float(compute.loss(network, compute.batch(step))) for compute in pair]
        assert np.mean(shares) == pytest.approx(float(alone.loss(network, alone.batch(step))), rel=1e-5)
        assert shares[0] != shares[1]
