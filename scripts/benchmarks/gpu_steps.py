"""Training steps and evaluation on a GPU, for `scripts/bench gpu`: as the trainer takes them, and as CUDA graphs."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from actloc import experiment as experiments
from actloc.detectors import base_network
from actloc.layers.precision import computing_in, full_precision
from actloc.ops.points import Points
from actloc.ops.pointwise import PointCriterion
from actloc.structures import Batch, Grid, Sample, Targets
from actloc.training import modules
from actloc.training.averages import AveragedWeights
from actloc.training.trainer import Trainer
from scripts.benchmarks import networks
from scripts.benchmarks.counting import count
from scripts.benchmarks.detectors import Data, Noise
from scripts.benchmarks.device_time import Costs, Task, captured, measured, waits_of
from scripts.benchmarks.effort import TOY, Effort
from scripts.benchmarks.network_results import quantiles
from scripts.benchmarks.networks import ANET_BATCH, ANET_STEPS, THUMOS_BATCH, THUMOS_STEPS, Step
from scripts.benchmarks.steps import trainer_on

GRID = Grid(30.0, 4.0, 8.0)
PRECISIONS = ("float32", "tf32", "bfloat16")
"""In float32 no product rounds its inputs; tf32 lets all of them; bfloat16 is autocast."""
AS_TORCH = "float32, torch's defaults"
"""What training in float32 does: torch lets convolutions round to tf32, and matrix products not."""
_DIM = "detector.dim={}"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    precision: str
    costs: Costs
    gflop: float | None = None
    """Arithmetic of a run, of products, convolutions and attention."""
    items: int | None = None
    """Clips of a run."""


@dataclass(frozen=True)
class Workload:
    """An experiment, and the shape of its batches."""

    name: str
    config: str
    channels: int
    classes: int
    dim: int

    def trainer(self, precision: str, effort: Effort, device: torch.device) -> Trainer:
        """A trainer of it with new weights."""
        kind = "bfloat16" if precision == "bfloat16" else "float32"
        settings = [f"machine.device={device.type}", f"training.precision={kind}", _DIM.format(effort.of(self.dim))]
        experiment = experiments.load(self.config, settings)
        source = Noise(experiment.features, Data(effort.of(self.channels), self.classes, 64, 1, 8.0))
        return trainer_on(source, source.annotations, experiment)


THUMOS = Workload("THUMOS14 2 x 2048", "thumos14_i3d_actionformer", 2048, 20, 512)
ANET = Workload("ActivityNet 16 x 512", "activitynet13_tsp_actionformer", 512, 1, 256)


def lengths_of(effort: Effort) -> list[tuple[str, Workload, list[list[int]]]]:
    """Name, workload and the lengths in steps of the videos in each batch; of several batches the mean counts."""
    full, anet = effort.of(THUMOS_STEPS), effort.of(ANET_STEPS)
    drawn = sorted(networks.drawn_batches(10), key=max)
    real = [drawn[place] for place in quantiles(list(range(len(drawn))), effort.lengths)]
    shrunk = [[max(8, effort.of(length)) for length in batch] for batch in real]
    return [
        (f"{THUMOS.name} x {full:,}", THUMOS, [[full] * THUMOS_BATCH]),
        (f"{THUMOS.name}, real lengths", THUMOS, shrunk),
        (f"{ANET.name} x {anet:,}", ANET, [[anet] * ANET_BATCH]),
    ]


@contextmanager
def rounding(precision: str) -> Iterator[None]:
    """Lets products of float32 numbers round their inputs to tf32, or not; see `PRECISIONS`, `AS_TORCH`."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision in ("tf32", "bfloat16", AS_TORCH)
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@contextmanager
def without_determinism() -> Iterator[None]:
    """Kernels that may add in any order, and the fastest of cuDNN's by trial."""
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)


def noise(trainer: Trainer, lengths: Sequence[int], channels: int) -> tuple[Step, Batch]:
    """A padded batch on the device, and the same one as a loader gives it."""
    step = networks.step(_detector(trainer).train(), channels, list(lengths))
    samples = [
        Sample(f"video {number}", features[:, :length].cpu(), Targets(own.segments.cpu(), own.labels.cpu()), GRID)
        for number, (features, length, own) in enumerate(zip(step.features, lengths, step.targets, strict=True))
    ]
    return step, Batch(tuple(samples))


def _detector(trainer: Trainer) -> Any:  # Any: a detector
    return trainer.learner.detector  # type: ignore[attr-defined]  # of the one task that there is


def whole_steps(effort: Effort, device: torch.device, repeats: int) -> Iterator[Row]:
    """Steps of the trainer: features to the device, forward, loss, backward, clip, AdamW, averages."""
    for name, workload, batches in lengths_of(effort):
        for precision in (AS_TORCH, *PRECISIONS):
            with rounding(precision):
                yield _whole_step(f"{name}: step", workload, batches, precision, effort, device, repeats)
            _forget(device)
    for precision in (AS_TORCH, "bfloat16"):
        name, workload, batches = lengths_of(effort)[0]
        with rounding(precision), without_determinism():
            name = f"{name}: step, order of sums left open"
            yield _whole_step(name, workload, batches, precision, effort, device, repeats)
        _forget(device)


def _whole_step(
    name: str,
    workload: Workload,
    batches: list[list[int]],
    precision: str,
    effort: Effort,
    device: torch.device,
    repeats: int,
) -> Row:
    trainer = workload.trainer(precision, effort, device)
    channels = effort.of(workload.channels)
    made = [noise(trainer, lengths, channels) for lengths in batches]
    gflop = sum(count(step.detector, step.loss).flops for step, _ in made) / len(made) / 1e9
    loaded = [batch for _, batch in made]
    del made

    def train() -> None:
        for batch in loaded:
            trainer.train_step([batch])

    return Row(name, precision, _per(measured(train, device, repeats), len(loaded)), gflop)


def _per(costs: Costs, number: int) -> Costs:
    """The mean of `number` steps that were measured together."""
    if number == 1:
        return costs
    work = costs.work
    if work is not None:
        longest = [(name, calls / number, ms / number) for name, calls, ms in work.longest]
        work = type(work)(work.kernels / number, work.copies / number, work.busy_ms / number, longest)
    return Costs(costs.ms / number, costs.fastest_ms / number, work, costs.peak_mb)


def evaluations(effort: Effort, device: torch.device, repeats: int) -> Iterator[Row]:
    """One THUMOS14 video: the network alone, and all of it, suppression on the processor included."""
    for precision in (AS_TORCH, *PRECISIONS):
        yield from _evaluation(precision, effort, device, repeats)
        _forget(device)


def _evaluation(precision: str, effort: Effort, device: torch.device, repeats: int) -> Iterator[Row]:
    length = effort.of(THUMOS_STEPS)
    trainer = THUMOS.trainer(precision, effort, device)
    step, batch = noise(trainer, [length], effort.of(THUMOS.channels))
    localizer, source = trainer.learner.localizer, trainer.learner.source  # type: ignore[attr-defined]
    step.detector.eval()
    parts: dict[str, Task] = {
        "network": step.evaluation(localizer.precision),
        "detections": lambda: localizer.detect_one(source, batch.samples, None),
    }
    with rounding(precision):
        for part, task in parts.items():
            costs = measured(task, device, repeats)
            yield Row(f"THUMOS14 video of {length:,} steps: {part}", precision, costs)


def waits(effort: Effort, device: torch.device) -> dict[str, dict[str, int]]:
    """Lines of actloc that wait for the GPU in a step of each workload."""
    found = {}
    for name, workload, batches in lengths_of(effort)[::2]:
        trainer = workload.trainer("float32", effort, device)
        _, batch = noise(trainer, batches[0], effort.of(workload.channels))
        found[name] = waits_of(lambda: trainer.train_step([batch]), device)  # noqa: B023 - called here
    return found


def graphs(effort: Effort, device: torch.device, repeats: int) -> Iterator[Row]:
    """The same work once started kernel by kernel, once as one CUDA graph of a fixed shape.

    In both, what points learn was assigned before, and the points are those of the first call: these copy from the
    processor, which a graph cannot. On a CPU there are no graphs.
    """
    for name, workload, batches in lengths_of(effort)[::2]:
        for precision in (AS_TORCH, "tf32", "bfloat16") if effort is not TOY else (AS_TORCH,):
            trainer = workload.trainer(precision, effort, device)
            step, _ = noise(trainer, batches[0], effort.of(workload.channels))
            kind = "bfloat16" if precision == "bfloat16" else "float32"
            with rounding(precision), fixed_points(), fixed_targets(step):
                gradients = _gradients(step, kind)
                for part, task in (("gradients", gradients), ("whole step", _then_updated(trainer, gradients))):
                    yield Row(f"{name}: {part}, by kernels", precision, measured(task, device, repeats))
                    if device.type == "cuda":
                        replay = captured(task)
                        yield Row(f"{name}: {part}, as a graph", precision, measured(replay, device, repeats))
                        del replay
            del trainer, step, gradients, task
            _forget(device)


def fixed_points() -> AbstractContextManager[object]:
    """Lets `level_points` make the points of each shape once."""
    made: dict[tuple[int, ...], Points] = {}
    original = base_network.level_points

    def level_points(lengths: list[int], *rest: Any) -> Points:  # Any: as the original takes them
        if tuple(lengths) not in made:
            made[tuple(lengths)] = original(lengths, *rest)
        return made[tuple(lengths)]

    return patch.object(base_network, "level_points", level_points)


def fixed_targets(step: Step) -> AbstractContextManager[object]:
    """Lets the criterion assign what the points of a step learn once, and leaves its normaliser alone."""
    criterion = step.detector.criterion
    assert isinstance(criterion, PointCriterion), f"{type(criterion).__name__} assigns nothing to points"
    with torch.no_grad():
        outputs = step.detector(step.features, step.mask)
        assigned = criterion.assign(outputs.points, step.targets, None)
    criterion.start_step(float((assigned.classes.sum(dim=2) > 0).sum()))
    return patch.object(criterion, "assign", lambda *_: assigned)


def _gradients(step: Step, kind: str) -> Task:
    """Forward pass of all points, losses and backward pass."""

    def loss() -> Tensor:
        with computing_in(kind, step.features.device):
            outputs = step.detector(step.features, step.mask)
            with full_precision(step.features.device):
                return torch.stack(list(step.detector.criterion(outputs, step.targets).values())).sum()

    def compute() -> None:
        step.detector.zero_grad(set_to_none=True)
        loss().backward()  # type: ignore[no-untyped-call]

    return compute


def _then_updated(trainer: Trainer, gradients: Task) -> Task:
    """`gradients`, then clip, AdamW and averages, without the checks that wait for the GPU."""
    settings = trainer.optimizer_settings
    on_gpu = trainer.parameters[0].device.type == "cuda"
    groups = [{"params": one["params"], "weight_decay": one["weight_decay"]} for one in trainer.optimizer.param_groups]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True, capturable=on_gpu)
    weights = modules.learning(trainer.learner.modules)
    averages = AveragedWeights(weights, decay=0.999, warm_up=False)

    def update() -> None:
        gradients()
        nn.utils.clip_grad_norm_(trainer.parameters, settings.clip_norm or 1.0)
        optimizer.step()
        averages.update(weights, 0)

    return update


def _forget(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
