"""The training loop, the same for every task and every source of features."""

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from actloc import console, files
from actloc.errors import NotFiniteError, Stopped
from actloc.fault_injection import inject
from actloc.settings.sections import AverageSettings, OptimizerSettings, ScheduleSettings, TrainingSettings
from actloc.signals import StopFlag
from actloc.structures import Batch, Sample
from actloc.training import checkpoint as checkpoints
from actloc.training.averages import AveragedWeights
from actloc.training.checkpoint import Checkpoint
from actloc.training.distributed import ALONE, Processes
from actloc.training.loader import Loader, generator_state, set_generator_state
from actloc.training.log import RunLog
from actloc.training.optimizer import learning_rate, multistep_rate, parameter_groups


class Learner(Protocol):
    """What the trainer needs from a task: a network, samples, features, losses and a validation score."""

    @property
    def network(self) -> nn.Module:
        """The network to train."""

    @property
    def num_samples(self) -> int:
        """Videos of the training subset."""

    def load_sample(self, index: int, generator: random.Random) -> Sample:
        """Training sample `index`; `generator` makes its random choices."""

    def start_step(self, batches: Sequence[Batch]) -> None:
        """Gets all batches of a step before the first is used, to update state that depends on the whole step."""

    def features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Padded features (B, C, T) and their mask (B, T)."""

    def losses(self, features: Tensor, mask: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Named losses; their sum over the batches of a step is what the step minimises."""

    def validate(self, averaged: dict[str, Tensor]) -> float:
        """The score of the averaged weights on the validation subset; higher is better."""

    def training_state(self) -> dict[str, float]:
        """Plain numbers that later steps depend on."""

    def load_training_state(self, state: dict[str, float]) -> None:
        """Restores what `training_state` returned."""


class Trainer:
    """Trains `learner`; writes checkpoints and the log to `folder`."""

    def __init__(
        self,
        learner: Learner,
        folder: Path,
        *,
        optimizer: OptimizerSettings,
        schedule: ScheduleSettings,
        average: AverageSettings,
        training: TrainingSettings,
        seed: int,
        num_workers: int,
        about: dict[str, Any],  # Any: JSON values, stored in every checkpoint
        processes: Processes = ALONE,
    ) -> None:
        self.processes = processes
        self.seed = seed
        self.learner = learner
        self.folder = folder
        self.optimizer_settings = optimizer
        self.schedule = schedule
        self.training = training
        self.about = about
        self.loader = Loader(
            learner.load_sample,
            learner.num_samples,
            training.batch_size,
            training.accumulate,
            seed,
            num_workers,
            processes,
        )
        self.parameters = [parameter for parameter in learner.network.parameters() if parameter.requires_grad]
        self.optimizer = _build_optimizer(learner.network, optimizer)
        self.averages = AveragedWeights(learner.network, decay=average.decay, warm_up=average.warm_up)
        self.best: tuple[int, float] | None = None
        self.step = 0

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole run."""
        epochs = self.schedule.epochs + self.schedule.warmup_epochs
        return min(epochs, self.schedule.stop_after_epochs or epochs) * self.loader.steps_per_epoch

    def run(self, start: Checkpoint | None, stop: StopFlag) -> None:
        """Trains from `start`, or from the beginning, to the end. Raises NotFiniteError, or Stopped after saving."""
        if not self.processes.is_first:  # else drop path would make the same choices in every process
            torch.manual_seed(self.seed + self.processes.rank)
        if start is not None:
            self._restore(start)
        with (
            RunLog(self.folder, self.step, writes=self.processes.is_first) as log,
            console.progress("training", self.num_steps) as bar,
        ):
            bar(self.step)
            for batches in self.loader.batches(self.step, self.num_steps):
                values = self._train_step(batches)
                log.write("step", self.step, values)
                bar(1, f"loss {values['train/loss/total']:.4f}")
                self._after_step(log)
                # a signal may reach only one process, or each after a different step
                number = max(self.processes.gather(stop.signal_number))
                if number:
                    self._save()
                    raise Stopped(number)

    def _train_step(self, batches: list[Batch]) -> dict[str, float]:
        learner, optimizer = self.learner, self.optimizer
        spoiled = math.nan if inject("step") == "nan" else 1.0
        learner.network.train()
        rate = self._set_learning_rate()
        optimizer.zero_grad(set_to_none=True)
        learner.start_step(batches)
        own_values: dict[str, float] = defaultdict(float)
        for batch in batches:
            features, mask = learner.features(batch)
            losses = {name: loss * spoiled for name, loss in learner.losses(features, mask, batch).items()}
            torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
            for name, loss in losses.items():
                own_values[name] += loss.item()
        values: dict[str, float] = defaultdict(float)
        for process_values in self.processes.gather(own_values):  # empty where a process has no part of the step
            for name, value in process_values.items():
                values[name] += value
        self._check_finite("loss", batches, values)
        self.processes.add_gradients(self.parameters)
        norm = float(nn.utils.clip_grad_norm_(self.parameters, self.optimizer_settings.clip_norm or math.inf))
        self._check_finite("gradient norm", batches, {**values, "gradient norm": norm})
        optimizer.step()
        self._check_finite("weights", batches, {**values, "weights": _norm(self.parameters)})
        self.averages.update(self.step)
        self.step += 1
        logged = {"train/loss/total": sum(values.values())}
        logged |= {f"train/loss/{name}": value for name, value in values.items()}
        return {**logged, "train/gradient_norm": norm, "train/learning_rate": rate}

    def _after_step(self, log: RunLog) -> None:
        epoch, place = divmod(self.step, self.loader.steps_per_epoch)
        ends = self.step == self.num_steps
        validates = place == 0 and self.training.validation_subset is not None
        if validates and (ends or epoch % self.training.validate_every_epochs == 0):
            self._validate(log)
        if ends or (place == 0 and epoch % self.training.checkpoint_every_epochs == 0):
            self._save()

    def _validate(self, log: RunLog) -> None:
        score = self.learner.validate(self.averages.state_dict())
        log.write("validation", self.step, {"validation/average_mAP": score})
        if self.best is None or score > self.best[1]:
            self.best = (self.step, score)
            folder = self._save()
            self.processes.of_first(lambda: checkpoints.mark_best(self.folder, folder))

    def _set_learning_rate(self) -> float:
        schedule = self.schedule
        start = (self.step, self.optimizer_settings.learning_rate, self.loader.steps_per_epoch)
        if schedule.name == "multistep":
            rate = multistep_rate(*start, schedule.milestones, schedule.gamma, schedule.warmup_epochs)
        else:
            rate = learning_rate(*start, schedule.epochs, schedule.warmup_epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _check_finite(self, what: str, batches: list[Batch], values: dict[str, float]) -> None:
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if not bad:
            return
        own = [video_id for batch in batches for video_id in batch.video_ids]
        videos = [video_id for others in self.processes.gather(own) for video_id in others]
        shown = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
        record = {"step": self.step + 1, "not_finite": bad, "values": shown, "videos": videos}
        if self.processes.is_first:
            files.write_json(self.folder / "bad_batch.json", record)
        raise NotFiniteError(
            f"Step {self.step + 1}: {what} not finite ({', '.join(f'{k} {v}' for k, v in shown.items())}); "
            f"the videos of the step: {', '.join(videos)}.",
            "Expected finite numbers; the checkpoints before this step are intact.",
            f"Lower optimizer.learning_rate, or check these videos' features. Details: {self.folder}/bad_batch.json",
        )

    def _save(self) -> Path:
        state = {
            f"generator/{rank}/{name}": tensor
            for rank, states in enumerate(self.processes.gather(generator_state()))
            for name, tensor in states.items()
        }
        return self.processes.of_first(lambda: self._write(state))

    def _write(self, state: dict[str, Tensor]) -> Path:
        packed = self.optimizer.state_dict()
        for index, values in packed["state"].items():
            for name, value in values.items():
                if value is not None:
                    state[f"optimizer/{index}/{name}"] = torch.as_tensor(value)
        numbers = {
            "best": self.best,
            "learner": self.learner.training_state(),
            "about": self.about,
        }
        weights = self.learner.network.state_dict()
        folder = checkpoints.save(
            self.folder, Checkpoint(self.step, weights, self.averages.state_dict(), state, numbers)
        )
        checkpoints.prune(self.folder)
        console.emit("checkpoint", step=self.step, path=str(folder))
        return folder

    def _restore(self, start: Checkpoint) -> None:
        self.step = start.step
        if start.numbers["best"] is not None:
            self.best = (int(start.numbers["best"][0]), float(start.numbers["best"][1]))
            best = checkpoints.folder_of(self.folder, self.best[0])
            # after a kill between saving the best checkpoint and linking it, the link is out of date
            self.processes.of_first(lambda: checkpoints.mark_best(self.folder, best))
        self.learner.network.load_state_dict(start.weights)
        self.learner.load_training_state(start.numbers["learner"])
        self.averages.load_state_dict(start.averaged)
        packed = self.optimizer.state_dict()
        packed["state"] = {}
        for key, tensor in start.state.items():
            kind, _, rest = key.partition("/")
            if kind == "optimizer":
                index, _, name = rest.partition("/")
                packed["state"].setdefault(int(index), {})[name] = tensor
        self.optimizer.load_state_dict(packed)
        prefix = f"generator/{self.processes.rank}/"
        states = {key.removeprefix(prefix): state for key, state in start.state.items() if key.startswith(prefix)}
        if states:  # a process that the job did not have before keeps its own seed
            set_generator_state(states)


def _build_optimizer(network: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    groups = [dict(group) for group in parameter_groups(network, settings.weight_decay)]
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum)
    return torch.optim.AdamW(groups, lr=settings.learning_rate)


def _norm(parameters: list[nn.Parameter]) -> float:
    """L2 norm of all parameters together: not finite if any value is not."""
    norms = torch._foreach_norm([parameter.detach() for parameter in parameters])
    return float(torch.linalg.vector_norm(torch.stack(norms)))
