"""The training loop, the same for every task and every source of features."""

import math
import signal
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from actloc import console, files
from actloc.errors import NotFiniteError, Stopped
from actloc.fault_injection import inject
from actloc.settings.sections import AverageSettings, OptimizerSettings, ScheduleSettings, TrainingSettings
from actloc.signals import StopFlag
from actloc.structures import Batch, Sample, Visit
from actloc.training import checkpoint as checkpoints
from actloc.training import modules
from actloc.training.averages import AveragedWeights
from actloc.training.checkpoint import Checkpoint
from actloc.training.distributed import ALONE, Processes
from actloc.training.loader import Loader, generator_state, set_generator_state
from actloc.training.log import Pace, RunLog
from actloc.training.modules import Modules
from actloc.training.optimizer import in_order_of, scheduled_rate


class Learner(Protocol):
    """What the trainer needs from a task: networks, samples, features, losses and a validation score."""

    @property
    def modules(self) -> Modules:
        """The networks to train."""

    @property
    def num_samples(self) -> int:
        """Videos of the training subset."""

    @property
    def score_name(self) -> str:
        """The number of `validate` that decides which checkpoint is the best."""

    def about(self) -> dict[str, Any]:  # Any: JSON values
        """What a checkpoint stores in addition to settings, such as the names of the classes."""

    def load_sample(self, index: int, visit: Visit) -> Sample:
        """Training sample `index`; its random choices follow from `visit`."""

    def start_step(self, batches: Sequence[Batch]) -> None:
        """Gets all batches of a step before the first is used, sets the networks to training, and updates state that
        depends on the whole step."""

    def features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Padded features (B, C, T) and their mask (B, T)."""

    def losses(self, features: Tensor, mask: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Named losses; their sum over the batches of a step is what the step minimises."""

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of a batch's loss to those of all networks; called after `losses` of the same batch."""

    def commit(self, step: int, steps_per_epoch: int) -> dict[str, float]:
        """Called when the weights have changed for the `step`-th time, to keep what the step produced.

        Returns values for the log.
        """

    def validate(self, averaged: dict[str, Tensor]) -> dict[str, float]:
        """The numbers of the averaged weights on the validation subset, as the log names them; higher is better."""

    def begin(self) -> None:
        """Called before the first step of a new run; every process calls it."""

    def training_state(self, step: int) -> tuple[dict[str, Any], dict[str, Tensor]]:  # Any: JSON values
        """Plain values and tensors that later steps depend on, for the checkpoint after `step`.

        Files that they refer to are complete when it returns. One process calls it.
        """

    def load_training_state(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Restores what `training_state` returned; every process calls it."""

    def saved(self, step: int) -> None:
        """Called when the checkpoint after `step` is complete; every process calls it."""

    def keep(self, states: Sequence[dict[str, Any]]) -> None:
        """Deletes the files that none of these plain values refers to; one process calls it."""


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
        self.optimizer = _build_optimizer(learner.modules, optimizer)
        # in the networks' own order: the norm of all gradients depends on it in the last bit
        networks = [one.network for one in learner.modules.values()]
        self.parameters = [one for network in networks for one in network.parameters() if one.requires_grad]
        self.averages = AveragedWeights(modules.learning(learner.modules), decay=average.decay, warm_up=average.warm_up)
        # gradients of float16 vanish unless the loss is scaled up; the steps that overflow are skipped
        self.scaler = torch.amp.GradScaler(self.parameters[0].device.type, enabled=training.precision == "float16")
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
        if start is None:
            self.learner.begin()
        else:
            self._restore(start)
            # only now that it is certain that the run continues from here
            self.processes.of_first(lambda: checkpoints.forget_after(self.folder, start.step))
            self.processes.of_first(self._keep)
        with (
            RunLog(self.folder, self.step, self.loader.steps_per_epoch, writes=self.processes.is_first) as log,
            console.progress("training", self.num_steps, done=self.step) as bar,
        ):
            if start is None:
                log.note("start", 0, steps=self.num_steps, samples=self.learner.num_samples)
            else:
                log.note("resume", self.step, checkpoint=checkpoints.folder_of(self.folder, self.step).name)
            pace = Pace()
            for batches in pace.over(self.loader.batches(self.step, self.num_steps)):
                values = self.train_step(batches)
                measured = pace.values()
                log.write("step", self.step, {**values, **measured})
                bar(1, _progress_note(values, measured))
                self._after_step(log)
                # a signal may reach only one process, or each after a different step
                number = max(self.processes.gather(stop.signal_number))
                if number:
                    folder = self.save(log, is_extra=True)
                    log.note("stop", self.step, signal=signal.Signals(number).name, checkpoint=folder.name)
                    raise Stopped(number, is_agreed=True)
            log.note("finish", self.step)
        steps = console.count(pace.waits.count, "step")
        console.say(f"{pace.waiting_share:.0%} of the time was spent waiting for data, in {steps}")

    def train_step(self, batches: list[Batch]) -> dict[str, float]:
        """Changes the weights once, by the gradient of these batches; returns what is logged."""
        learner, optimizer = self.learner, self.optimizer
        spoiled = math.nan if inject("step") == "nan" else 1.0
        rate = self._set_learning_rate()
        optimizer.zero_grad(set_to_none=True)
        learner.start_step(batches)
        own_losses: dict[str, float] = defaultdict(float)
        for batch in batches:
            features, mask = learner.features(batch)
            losses = {name: loss * spoiled for name, loss in learner.losses(features, mask, batch).items()}
            learner.backward(self.scaler.scale(torch.stack(list(losses.values())).sum()))
            for name, loss in losses.items():
                own_losses[name] += loss.item()
        values: dict[str, float] = defaultdict(float)
        for process_values in self.processes.gather(own_losses):  # empty where a process has no part of the step
            for name, value in process_values.items():
                values[name] += value
        self._check_finite("loss", batches, values)
        self.processes.add_gradients(self.parameters)
        self.scaler.unscale_(optimizer)
        norm = float(nn.utils.clip_grad_norm_(self.parameters, self.optimizer_settings.clip_norm or math.inf))
        is_skipped = self.scaler.is_enabled() and not math.isfinite(norm)
        if not is_skipped:
            self._check_finite("gradient norm", batches, {**values, "gradient norm": norm})
        self.scaler.step(optimizer)
        self.scaler.update()
        self._check_finite("weights", batches, {**values, "weights": _norm(self.parameters)})
        if not is_skipped:
            self.averages.update(modules.learning(learner.modules), self.step)
        self.step += 1
        own_values = {} if is_skipped else learner.commit(self.step, self.loader.steps_per_epoch)
        replaced = self.processes.total(sum(sample.is_replacement for batch in batches for sample in batch.samples))
        logged = {"train/loss/total": sum(values.values())}
        logged |= {f"train/loss/{name}": value for name, value in values.items()}
        if self.scaler.is_enabled():
            logged |= {"train/loss_scale": self.scaler.get_scale(), "train/skipped": float(is_skipped)}
            norm = 0.0 if is_skipped else norm
        if replaced:  # by others, because their videos cannot be decoded
            logged["train/replaced_samples"] = replaced
        return {**logged, **own_values, "train/gradient_norm": norm, "train/learning_rate": rate}

    def _after_step(self, log: RunLog) -> None:
        epoch, place = divmod(self.step, self.loader.steps_per_epoch)
        ends = self.step == self.num_steps
        validates = place == 0 and self.training.validation_subset is not None
        if validates and (ends or epoch % self.training.validate_every_epochs == 0):
            self._validate(log)
        if ends or (place == 0 and epoch % self.training.checkpoint_every_epochs == 0):
            self.save(log)

    def _validate(self, log: RunLog) -> None:
        scores = self.learner.validate(self.averages.state_dict())
        log.write("validation", self.step, {f"validation/{name}": value for name, value in scores.items()})
        score = scores[self.learner.score_name]
        if self.best is None or score > self.best[1]:
            self.best = (self.step, score)
            folder = self.save(log)
            self.processes.of_first(lambda: checkpoints.mark_best(self.folder, folder))

    def _set_learning_rate(self) -> float:
        full = self.optimizer_settings.learning_rate
        rate = scheduled_rate(self.step, full, self.loader.steps_per_epoch, self.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["rate_factor"]
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

    def save(self, log: RunLog, *, is_extra: bool = False) -> Path:
        """Writes a checkpoint, unless there is one of this step; `is_extra` if the schedule does not ask for it."""
        log.flush()
        is_new = not checkpoints.folder_of(self.folder, self.step).exists()
        state = {
            f"generator/{rank}/{name}": tensor
            for rank, states in enumerate(self.processes.gather(generator_state()))
            for name, tensor in states.items()
        }
        folder = self.processes.of_first(lambda: self._write(state, is_extra))
        if is_new:
            log.note("checkpoint", self.step, checkpoint=folder.name)
        self.learner.saved(self.step)
        self.processes.of_first(self._keep)
        return folder

    def _keep(self) -> None:
        """Deletes what neither the best checkpoint nor those to resume from need."""
        checkpoints.prune(self.folder)
        self.learner.keep(
            [numbers["learner"] for numbers in checkpoints.newest_numbers(self.folder) if "learner" in numbers]
        )

    def _write(self, state: dict[str, Tensor], is_extra: bool) -> Path:
        packed = self.optimizer.state_dict()
        for index, values in packed["state"].items():
            for name, value in values.items():
                if value is not None:
                    state[f"optimizer/{index}/{name}"] = torch.as_tensor(value)
        plain, tensors = self.learner.training_state(self.step)
        state |= {f"learner/{name}": tensor for name, tensor in tensors.items()}
        numbers: dict[str, Any] = {  # Any: JSON values
            "best": self.best,
            "learner": plain,
            "scaler": self.scaler.state_dict(),
            "num_steps": self.num_steps,
            "steps_per_epoch": self.loader.steps_per_epoch,
            "about": self.about,
        }
        if is_extra:
            numbers["is_extra"] = True
        weights = modules.learning(self.learner.modules)
        folder = checkpoints.save(
            self.folder, Checkpoint(self.step, weights, self.averages.state_dict(), state, numbers)
        )
        console.emit("checkpoint", step=self.step, path=str(folder))
        return folder

    def _restore(self, start: Checkpoint) -> None:
        self.step = start.step
        if start.numbers["best"] is not None:
            self.best = (int(start.numbers["best"][0]), float(start.numbers["best"][1]))
            best = checkpoints.folder_of(self.folder, self.best[0])
            # after a kill between saving the best checkpoint and linking it, the link is out of date
            self.processes.of_first(lambda: checkpoints.mark_best(self.folder, best))
        modules.load(self.learner.modules, start.weights)
        self.scaler.load_state_dict(start.numbers.get("scaler") or self.scaler.state_dict())
        tensors = {name.removeprefix("learner/"): one for name, one in start.state.items() if name[:8] == "learner/"}
        self.learner.load_training_state(start.numbers["learner"], tensors)
        self.averages.load_state_dict(start.averaged)
        packed = self.optimizer.state_dict()
        packed["state"] = {}
        parameters = [one for group in self.optimizer.param_groups for one in group["params"]]
        for key, tensor in start.state.items():
            kind, _, rest = key.partition("/")
            if kind == "optimizer":
                index, _, name = rest.partition("/")
                packed["state"].setdefault(int(index), {})[name] = in_order_of(parameters[int(index)], tensor)
        self.optimizer.load_state_dict(packed)
        prefix = f"generator/{self.processes.rank}/"
        states = {key.removeprefix(prefix): state for key, state in start.state.items() if key.startswith(prefix)}
        if states:  # a process that the job did not have before keeps its own seed
            set_generator_state(states)


def _progress_note(values: Mapping[str, float], measured: Mapping[str, float]) -> str:
    gigabytes = next(value for name, value in measured.items() if name.startswith("memory/"))
    waiting = measured["time/waiting_for_data"]
    return f"loss {values['train/loss/total']:.4f}, {gigabytes:.1f} GB, {waiting:.0%} waiting for data"


def _build_optimizer(trained: Modules, settings: OptimizerSettings) -> torch.optim.Optimizer:
    decay, decays_all = settings.weight_decay, settings.decays == "all"
    groups = [dict(group) for one in trained.values() for group in one.groups(decay, decays_all=decays_all)]
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum)
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=settings.learning_rate, fused=True)


def _norm(parameters: list[nn.Parameter]) -> float:
    """L2 norm of all parameters together: not finite if any value is not."""
    norms = torch._foreach_norm([parameter.detach() for parameter in parameters])
    return float(torch.linalg.vector_norm(torch.stack(norms)))
