from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from actloc.settings.sections import AverageSettings, OptimizerSettings, ScheduleSettings, TrainingSettings
from actloc.signals import StopFlag
from actloc.structures import Batch, Grid, Sample, Targets, Visit
from actloc.training import checkpoint as checkpoints
from actloc.training.checkpoint import Checkpoint
from actloc.training.modules import TrainedModule
from actloc.training.optimizer import learning_rate, multistep_rate
from actloc.training.trainer import Trainer
from tests.toy import training_rows


class OneWeight:
    """Learns one number from samples without content."""

    num_samples = 3

    def __init__(self) -> None:
        self.network = nn.Linear(1, 1, bias=False)
        self.modules = {"detector": TrainedModule(self.network)}

    def load_sample(self, index: int, visit: Visit) -> Sample:
        return Sample(f"v{index}", torch.ones(1, 4), Targets.none(), Grid(30.0, 4.0, 8.0))

    def start_step(self, batches: Sequence[Batch]) -> None:
        pass

    def features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return batch.padded(4, torch.device("cpu"))

    def losses(self, features: Tensor, mask: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"distance": (self.network.weight - 3).square().sum()}

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def commit(self, step: int, steps_per_epoch: int) -> dict[str, float]:
        return {}

    def validate(self, averaged: dict[str, Tensor]) -> dict[str, float]:
        return {self.score_name: 0.0}

    def begin(self) -> None:
        pass

    def training_state(self, step: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return {}, {}

    def load_training_state(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        assert not state
        assert not tensors

    def saved(self, step: int) -> None:
        pass

    def keep(self, states: Sequence[dict[str, Any]]) -> None:
        pass


def rates(folder: Path, **schedule: Any) -> list[float]:
    """The learning rates of a whole run with three steps per epoch."""
    trainer = Trainer(
        OneWeight(),
        folder,
        optimizer=OptimizerSettings(learning_rate=0.1),
        schedule=ScheduleSettings(**schedule),
        average=AverageSettings(),
        training=TrainingSettings(batch_size=1),
        seed=0,
        num_workers=0,
        about={},
    )
    with StopFlag() as stop:
        trainer.run(None, stop)
    return [row["train/learning_rate"] for row in training_rows(folder)]


def test_a_run_follows_half_a_cosine(tmp_path: Path) -> None:
    assert rates(tmp_path, epochs=3, warmup_epochs=1) == [learning_rate(step, 0.1, 3, 3, 1) for step in range(12)]


def test_a_run_drops_its_rate_at_the_milestones(tmp_path: Path) -> None:
    found = rates(tmp_path, name="multistep", epochs=3, warmup_epochs=1, milestones=(1, 2), gamma=0.5)
    assert found == [multistep_rate(step, 0.1, 3, (1, 2), 0.5, 1) for step in range(12)]
    assert found[3:] == [0.1] * 3 + [0.05] * 3 + [0.025] * 3


def test_milestones_of_a_cosine_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"schedule\.name=multistep"):
        ScheduleSettings(milestones=(3,))


def test_a_run_restarts_its_cosine_after_a_warm_up_in_steps(tmp_path: Path) -> None:
    schedule = {"name": "cosine_restarts", "epochs": 4, "warmup_epochs": 0, "restart_epochs": 2, "warmup_steps": 2}
    half = 0.1 * (0.01 + 0.99 * 0.5)
    expected = [0.1 * 0.1, 0.1 * 0.55, 0.1, *[half] * 3, *[0.1] * 3, *[half] * 3]
    assert rates(tmp_path, **schedule) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("decays", ["weights", "all"])
def test_decay_is_a_part_of_the_gradient_in_adam_and_of_what_is_asked_for(
    tmp_path: Path, name: str, decays: str
) -> None:
    learner = OneWeight()
    learner.network = nn.Linear(1, 1)
    learner.modules = {"detector": TrainedModule(learner.network, rate_factor=0.5)}
    nn.init.constant_(learner.network.weight, 2.0)
    nn.init.constant_(learner.network.bias, 4.0)
    trainer = Trainer(
        learner,
        tmp_path,
        optimizer=OptimizerSettings(name=name, learning_rate=0.1, weight_decay=2.0, decays=decays, clip_norm=0),
        schedule=ScheduleSettings(epochs=1, warmup_epochs=0),
        average=AverageSettings(),
        training=TrainingSettings(batch_size=1),
        seed=0,
        num_workers=0,
        about={},
    )
    for parameter in learner.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    trainer._set_learning_rate()
    trainer.optimizer.step()
    assert bool(trainer.optimizer.defaults["fused"]) == (name != "sgd"), "one kernel for all of a group"
    moved = {"adam": (-0.05, -0.05), "adamw": (-0.05 * 2 * 2, -0.05 * 2 * 4), "sgd": (-0.05 * 2 * 2, -0.05 * 2 * 4)}
    weight, bias = moved[name]
    assert learner.network.weight.item() - 2.0 == pytest.approx(weight, rel=1e-4)
    assert learner.network.bias.item() - 4.0 == pytest.approx(bias if decays == "all" else 0.0, rel=1e-4)


class Kernels(OneWeight):
    """Learns a kernel whose channels are last in memory, as some encoders want it."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Conv2d(3, 2, 4, bias=False)
        nn.init.constant_(self.network.weight, 1.0)
        self.network.weight.data = self.network.weight.data.to(memory_format=torch.channels_last)
        self.modules = {"detector": TrainedModule(self.network)}
        self.is_cut = False

    def losses(self, features: Tensor, mask: Tensor, batch: Batch) -> dict[str, Tensor]:
        wanted = torch.arange(96.0).view(2, 3, 4, 4) - 40
        return {"distance": ((self.network.weight - wanted) * wanted).square().sum()}

    def commit(self, step: int, steps_per_epoch: int) -> dict[str, float]:
        if self.is_cut and step == 4:
            raise InterruptedError
        return {}


def trained_kernel(folder: Path, learner: Kernels, start: Checkpoint | None) -> Tensor:
    trainer = Trainer(
        learner,
        folder,
        optimizer=OptimizerSettings(learning_rate=0.1),
        schedule=ScheduleSettings(epochs=2, warmup_epochs=0),
        average=AverageSettings(),
        training=TrainingSettings(batch_size=1, checkpoint_every_epochs=1),
        seed=0,
        num_workers=0,
        about={},
    )
    trainer.run(start, StopFlag())
    return learner.network.weight


def test_a_kernel_whose_channels_are_last_in_memory_learns_the_same_after_a_break(tmp_path: Path) -> None:
    expected = trained_kernel(tmp_path / "whole", Kernels(), None)
    broken = Kernels()
    broken.is_cut = True
    with pytest.raises(InterruptedError):
        trained_kernel(tmp_path / "broken", broken, None)
    start = checkpoints.load(tmp_path / "broken/ckpt_000003")
    assert torch.equal(trained_kernel(tmp_path / "broken", Kernels(), start), expected)
    assert expected.is_contiguous(memory_format=torch.channels_last)


class Overflowing(OneWeight):
    """The gradient of the second step is not finite, as in float16 where the loss was scaled too much."""

    def backward(self, loss: Tensor) -> None:
        loss.backward()
        self.backwards = getattr(self, "backwards", 0) + 1
        if self.backwards == 2:
            assert self.network.weight.grad is not None
            self.network.weight.grad.fill_(torch.inf)

    def commit(self, step: int, steps_per_epoch: int) -> dict[str, float]:
        self.committed = [*getattr(self, "committed", []), step]
        return {}


def test_a_step_of_float16_whose_gradient_overflows_is_skipped(tmp_path: Path) -> None:
    learner = Overflowing()
    trainer = Trainer(
        learner,
        tmp_path,
        optimizer=OptimizerSettings(learning_rate=0.1),
        schedule=ScheduleSettings(epochs=1, warmup_epochs=0),
        average=AverageSettings(),
        training=TrainingSettings(batch_size=1, precision="float16"),
        seed=0,
        num_workers=0,
        about={},
    )
    with StopFlag() as stop:
        trainer.run(None, stop)
    rows = training_rows(tmp_path)
    assert [row["train/skipped"] for row in rows] == [0.0, 1.0, 0.0]
    assert rows[1]["train/loss_scale"] == rows[0]["train/loss_scale"] / 2
    assert learner.committed == [1, 3]
