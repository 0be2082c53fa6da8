"""One side of `scripts/bench against`: does the work that standard input asks for, with the `actloc` of this process.

That may be of any commit since e993a18, so only names are used that all of them have, or an old and a new one.
"""

import importlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scripts.benchmarks.counting import forward_flops
from scripts.benchmarks.results import product_rate

CPU = torch.device("cpu")
ACTIONS = 15
SEED = 39  # of a rate of 0.1, drop path leaves out 11 % of two videos' branches by it, and 8 % of sixteen videos'
Task = Callable[[], object]


def _one_of(*places: str) -> Any:  # Any: a class or function of actloc
    """The first of these that the commit has, each a module and a name in it."""
    for place in places:
        module, _, name = place.rpartition(".")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"this commit has none of {', '.join(places)}")


def _settings(new: str, old: str) -> Any:  # Any: a section of the commit's settings
    return _one_of(f"actloc.settings.sections.{new}", f"actloc.config.{old}")()


class Learner:
    """What trainers of all commits ask for: a detector that learns from the same batch again and again."""

    score_name = "average_mAP"

    def __init__(self, detector: Any, num_samples: int) -> None:  # Any: a detector of whatever commit
        self.network = self.detector = detector
        self.num_samples = num_samples

    @property
    def modules(self) -> dict[str, Any]:
        """The detector, as newer trainers ask for it."""
        return {"detector": _one_of("actloc.training.modules.TrainedModule")(self.detector)}

    def load_sample(self, *visit: object) -> Any:
        """Never called: the batches are given to the step."""
        raise AssertionError(f"a sample was asked for: {visit}")

    def start_step(self, batches: Any) -> None:
        """As the learners of detectors do; older detectors are their own criterion."""
        self.detector.train()
        criterion = getattr(self.detector, "criterion", self.detector)
        criterion.start_step(sum(criterion.weight_of(batch.lengths, batch.targets(CPU)) for batch in batches))

    def features(self, batch: Any) -> Any:
        """Padded features and their mask."""
        return batch.padded(self.detector.padded_steps(max(batch.lengths)), CPU)

    def losses(self, features: Tensor, mask: Tensor, batch: Any) -> Any:
        """The detector's losses."""
        return self.detector.losses(features, mask, batch.targets(CPU))

    def backward(self, loss: Tensor) -> None:
        """Newer trainers leave this to the learner."""
        loss.backward()  # type: ignore[no-untyped-call]

    def commit(self, step: int, steps_per_epoch: int) -> dict[str, float]:
        """Nothing to keep."""
        return {}


def _detector(work: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    config = _one_of("actloc.detectors.actionformer.Config")(**work["detector"])
    return config.build(work["channels"], work["classes"], work["max_steps"])


def _batch(lengths: list[int], work: dict[str, Any], seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    targets, grid = _one_of("actloc.structures.Targets"), _one_of("actloc.structures.Grid")(30.0, 4.0, 8.0)
    sample = _one_of("actloc.structures.Sample", "actloc.sources.base.Sample")
    samples = []
    for number, length in enumerate(lengths):
        starts = torch.rand(ACTIONS, generator=generator) * 0.9 * length
        sizes = (0.01 + 0.09 * torch.rand(ACTIONS, generator=generator)) * length
        labels = torch.randint(work["classes"], (ACTIONS,), generator=generator)
        actions = targets(torch.stack((starts, starts + sizes), dim=1), labels)
        features = torch.randn(work["channels"], length, generator=generator)
        samples.append(sample(f"video_{number}", features, actions, grid))
    return _one_of("actloc.structures.Batch", "actloc.sources.base.Batch")(tuple(samples))


def _steps(work: dict[str, Any], folder: Path) -> list[Task]:
    """A whole step of the trainer for each batch."""
    training = _settings("TrainingSettings", "Training").model_copy(update={"batch_size": len(work["batches"][0])})
    trainer = _one_of("actloc.training.trainer.Trainer")(
        Learner(_detector(work), len(work["batches"][0])),
        folder,
        optimizer=_settings("OptimizerSettings", "Optimizer"),
        schedule=_settings("ScheduleSettings", "Schedule"),
        average=_settings("AverageSettings", "Average"),
        training=training,
        seed=0,
        num_workers=0,
        about={},
    )
    train_step = getattr(trainer, "train_step", None) or trainer._train_step
    batches = [_batch(lengths, work, seed) for seed, lengths in enumerate(work["batches"])]
    return [lambda batch=batch: train_step([batch]) for batch in batches]


def _evaluations(work: dict[str, Any]) -> list[Task]:
    """Network, selection and suppression of each video."""
    detector = _detector(work).eval().requires_grad_(False)  # torch counts no products of others without gradients
    padded = [
        _batch(lengths, work, seed).padded(detector.padded_steps(max(lengths)), CPU)
        for seed, lengths in enumerate(work["batches"])
    ]

    def evaluate(features: Tensor, mask: Tensor) -> object:
        found = detector.detect(features, mask)[0]
        return _suppress(found.segments.numpy(), found.scores.numpy(), found.labels.numpy())

    return [lambda one=one: evaluate(*one) for one in padded]


def _suppress(segments: Any, scores: Any, labels: Any) -> object:
    rule = {"sigma": 0.5, "min_score": 0.001, "max_kept": 200}
    return _one_of("actloc.ops.suppression.soft_suppression_per_class")(segments, scores, labels, **rule)


def _suppressions(work: dict[str, Any]) -> list[Task]:
    """Candidates that crowd around a few actions, each of any class: every pick lowers many others."""
    generator = np.random.default_rng(0)
    number = work["candidates"]
    aims = generator.integers(ACTIONS, size=number)
    starts, sizes = generator.random(ACTIONS) * 2000, 20 + generator.exponential(40, ACTIONS)
    borders = np.stack((starts[aims], (starts + sizes)[aims]), axis=1)
    segments = np.sort(borders + generator.normal(0, 5, (number, 2)), axis=1).astype(np.float32)
    scores = generator.random(number, dtype=np.float32) ** 2
    labels = generator.integers(work["classes"], size=number)
    return [lambda: [_suppress(segments, scores, labels) for _ in range(work["repeated"])]]


def _action(label: int, start_s: float, end_s: float) -> dict[str, Any]:
    return {"label": f"class {label:03d}", "label_id": int(label), "segment": [start_s, end_s]}


def _evals(work: dict[str, Any], folder: Path) -> list[Task]:
    """`actloc eval` of videos with stored features, with an official checkpoint: all of a process, from its start."""
    generator, database = np.random.default_rng(0), {}
    (folder / "features").mkdir(parents=True)
    for number, (length,) in enumerate(work["batches"]):
        features = generator.standard_normal((length, work["channels"]), dtype=np.float32)
        np.save(folder / f"features/video_{number}.npy", features)
        duration_s = (length * 4 + 12) / 30
        starts, sizes = generator.random((2, ACTIONS)) * [[0.9], [0.1]] * duration_s
        labels = generator.integers(work["classes"], size=ACTIONS)
        actions = [_action(label, *ends) for label, *ends in zip(labels, starts, starts + sizes, strict=True)]
        database[f"video_{number}"] = {"subset": "Test", "duration": duration_s, "fps": 30.0, "annotations": actions}
    actions = [_action(label, 1.0, 5.0) for label in range(work["classes"])]
    database["other"] = {"subset": "Validation", "duration": 30.0, "fps": 30.0, "annotations": actions}
    (folder / "thumos14.json").write_text(json.dumps({"database": database}))
    steps = {"fps": 30.0, "clip_frames": 16, "stride_frames": 4, "max_steps": work["max_steps"], "allow_missing": True}
    settings = {
        "dataset": {"name": "thumos14", "folder": "prepared", "annotations": "thumos14.json"},
        "features": {"name": "folders", "path": "features", **steps},
        "detector": {"name": "actionformer", **work["detector"]},
        "machine": {"device": "cpu"},
    }
    (folder / "toy.yaml").write_text(json.dumps(settings))
    weights = {f"module.{name}": one for name, one in _detector(work).state_dict().items()}
    torch.save({"epoch": 1, "state_dict": weights, "state_dict_ema": weights}, folder / "weights.pth.tar")

    def actloc(*arguments: str) -> None:
        command = [sys.executable, "-m", "actloc", *arguments]
        # compiled once, as on a user's machine, also where this process was told not to
        own = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
        environment = {**os.environ, **own, "OMP_NUM_THREADS": str(torch.get_num_threads())}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)

    def evaluate() -> None:
        shutil.rmtree(folder / "ckpt", ignore_errors=True)
        actloc("eval", "toy.yaml", "evaluation.weights_file=weights.pth.tar")

    actloc("prepare", "toy.yaml")
    return [evaluate]


def _cpu_seconds(task: Task) -> float:
    """Processor time of one run, with that of the processes that it starts."""

    def used() -> float:
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + ended.ru_utime + ended.ru_stime

    start = used()
    task()
    return used() - start


def _flops(task: Task) -> float:
    torch.manual_seed(SEED)
    return forward_flops(task)


def _tasks(work: dict[str, Any], folder: Path) -> list[Task]:
    kind = work["kind"]
    if kind in ("steps", "evals"):
        return (_steps if kind == "steps" else _evals)(work, folder / kind)
    return _evaluations(work) if kind == "evaluations" else _suppressions(work)


def main() -> None:
    """Answers each line of standard input: `work` is prepared, `round` does it once, `product` is a plain product."""
    tasks: list[Task] = []
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            asked = json.loads(line)
            if "work" in asked:
                tasks.clear()
                torch.set_num_threads(asked["threads"])
                tasks = _tasks(asked["work"], Path(folder))
                answer: dict[str, Any] = {"flops": [_flops(task) for task in tasks]}
            elif "product" in asked:
                answer = {"gflop_per_s": product_rate(1)}
            else:
                seconds = []
                for task in tasks:
                    torch.manual_seed(SEED)  # both sides drop the same paths in every round
                    seconds.append(_cpu_seconds(task))
                answer = {"seconds": seconds}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
