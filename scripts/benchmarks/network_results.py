"""Training steps and evaluation: counts, times and memory."""

import multiprocessing
from pathlib import Path

import torch

from scripts.benchmarks import networks
from scripts.benchmarks.counting import Counts, at_lengths, count, forward_flops
from scripts.benchmarks.effort import Effort
from scripts.benchmarks.networks import ANET_BATCH, ANET_STEPS, ETAD_BATCH, ETAD_STEPS, THUMOS_BATCH, THUMOS_STEPS
from scripts.benchmarks.results import Result, best_seconds, devices

EPOCHS_DRAWN = 10  # a thousand batches give the mean length within a percent
PRECISIONS = ("float32", "bfloat16")


def quantiles(values: list[int], number: int) -> list[int]:
    """`number` of the values: those in the middle of `number` equal parts of the sorted values."""
    ordered = sorted(values)
    return [ordered[int((place + 0.5) * len(ordered) / number)] for place in range(number)]


def thumos_counts(lengths: tuple[int, int], full: int, batches: list[list[int]]) -> tuple[Counts, Counts]:
    """A step of `full` feature steps, and the mean over the padded lengths of `batches`, measured at two lengths.

    FLOPs and bytes are linear in the length; of the kernels the larger count is used.
    """
    detector = networks.thumos_detector().train()
    short, long = (count(detector, networks.step(detector, 2048, [length] * 2, length).loss) for length in lengths)
    padded = [detector.padded_steps(max(batch)) for batch in batches]
    kernels = max(short.kernels, long.kernels)

    def of(steps: list[int]) -> Counts:
        flops = at_lengths((lengths[0], short.flops), (lengths[1], long.flops), steps)
        saved = at_lengths((lengths[0], short.saved_bytes), (lengths[1], long.saved_bytes), steps)
        return Counts(flops, kernels, saved)

    return of([full]), of(padded)


def count_results(effort: Effort) -> list[Result]:
    """FLOPs, kernels and saved bytes of a step of every shape."""
    steps = effort.of(THUMOS_STEPS)
    full, mean = thumos_counts(effort.counted, steps, networks.drawn_batches(EPOCHS_DRAWN))
    detector = networks.anet_detector().train()
    anet = count(detector, networks.step(detector, 512, [effort.of(ANET_STEPS)] * ANET_BATCH).loss)
    return [
        Result("THUMOS step, mean batch: arithmetic", mean.flops / 1e9, "GFLOP", 514),
        Result(f"THUMOS step, {steps:,} steps: arithmetic", full.flops / 1e9, "GFLOP", 514),
        Result("THUMOS step: operators, views not counted", mean.kernels, "kernels", 4104),
        Result("THUMOS step, mean batch: saved for backward", mean.saved_bytes / 1e6, "MB", 1314),
        Result(f"THUMOS step, {steps:,} steps: saved for backward", full.saved_bytes / 1e6, "MB", 1314),
        Result("ActivityNet step: arithmetic", anet.flops / 1e9, "GFLOP", 91),
        Result("ActivityNet step: operators, views not counted", anet.kernels, "kernels"),
        Result("ActivityNet step: saved for backward", anet.saved_bytes / 1e6, "MB", 429),
        *_etad_counts(effort),
    ]


def _etad_counts(effort: Effort) -> list[Result]:
    detector = networks.etad_detector(effort.of(ETAD_STEPS))
    step = count(detector.train(), networks.etad_step(detector, ETAD_BATCH).loss)
    detection = forward_flops(networks.etad_step(detector.eval(), 1).evaluation("float32"))
    return [
        Result("ETAD step: arithmetic", step.flops / 1e9, "GFLOP"),
        Result("ETAD step: operators, views not counted", step.kernels, "kernels"),
        Result("ETAD step: saved for backward", step.saved_bytes / 1e6, "MB"),
        Result("ETAD evaluation of a video: arithmetic", detection / 1e9, "GFLOP"),
    ]


def time_results(effort: Effort) -> list[Result]:
    """Seconds of steps and of the network in evaluation, the mean over quantiles of the lengths; peak memory.

    Measured on the CPU, and on the GPU if there is one.
    """
    results = []
    for device in devices():
        results += _thumos_times(effort, device)
        results += _anet_times(effort, device)
        results += _evaluation_times(effort, device)
        results += _etad_times(effort, device)
        results += [_peak_memory(effort.of(THUMOS_STEPS), precision, device) for precision in PRECISIONS]
    return results


def _thumos_times(effort: Effort, device: torch.device) -> list[Result]:
    detector = networks.thumos_detector().train().to(device)
    longest = [max(batch) for batch in networks.drawn_batches(EPOCHS_DRAWN)]
    full = effort.of(THUMOS_STEPS)
    lengths = [*map(effort.of, quantiles(longest, effort.lengths)), full]
    steps = [networks.step(detector, 2048, [length] * THUMOS_BATCH) for length in lengths]
    results = []
    for precision, official in zip(PRECISIONS, (4.52, 2.30), strict=True):
        times = [best_seconds(step.training(precision), effort.repeats, device) for step in steps]
        mean = _mean(times[:-1])
        results += [
            _timed(f"THUMOS step, mean of {effort.lengths} lengths, {precision}", mean, official, device),
            _timed(f"THUMOS step, {full:,} steps, {precision}", times[-1], official, device),
        ]
    return results


def _anet_times(effort: Effort, device: torch.device) -> list[Result]:
    detector = networks.anet_detector().train().to(device)
    step = networks.step(detector, 512, [effort.of(ANET_STEPS)] * ANET_BATCH)
    results = []
    for precision, official in zip(PRECISIONS, (0.69, 0.54), strict=True):
        seconds = best_seconds(step.training(precision), effort.repeats, device)
        results.append(_timed(f"ActivityNet step, {precision}", seconds, official, device))
    return results


def _evaluation_times(effort: Effort, device: torch.device) -> list[Result]:
    detector = networks.thumos_detector().eval().to(device)
    lengths = map(effort.of, quantiles(networks.thumos_lengths("test"), effort.lengths))
    steps = [networks.step(detector, 2048, [length]) for length in lengths]
    note = "official: wall time at 2,304 steps on a busy machine"
    results = []
    for precision, official in zip(PRECISIONS, (0.7, None), strict=True):
        seconds = _mean([best_seconds(step.evaluation(precision), effort.repeats, device) for step in steps])
        name = f"THUMOS evaluation, mean of {effort.lengths} videos, {precision}"
        results.append(_timed(name, seconds, official, device, note))
    return results


def _etad_times(effort: Effort, device: torch.device) -> list[Result]:
    """A training step, the part of it that ROI align takes in all stages, and all candidates of one video."""
    detector = networks.etad_detector(effort.of(ETAD_STEPS)).to(device)
    name = f"ETAD evaluation of a video, {len(detector.candidates):,} candidates"
    results = []
    for precision in PRECISIONS:
        step = networks.etad_step(detector.train(), ETAD_BATCH).training(precision)
        align = networks.etad_roi_align(detector, ETAD_BATCH, precision)
        stages = len(detector.stage_heads)
        seconds, aligning = (best_seconds(task, effort.repeats, device) for task in (step, align))
        detection = best_seconds(networks.etad_step(detector.eval(), 1).evaluation(precision), effort.repeats, device)
        where = "" if device.type == "cpu" else ", GPU"
        results += [
            _timed(f"ETAD step, {precision}", seconds, None, device),
            Result(
                f"ETAD step, {precision}: part of ROI align{where}",
                100 * stages * aligning / seconds,
                "%",
                device=device.type,
            ),
            _timed(f"{name}, {precision}", detection, None, device),
        ]
    return results


def _timed(name: str, seconds: float, official: float | None, device: torch.device, note: str = "") -> Result:
    """A time; official ones were recorded on a CPU, so GPU times have none to compare with."""
    if device.type == "cpu":
        return Result(name, seconds, "s", official, note)
    return Result(f"{name}, GPU", seconds, "s", device="cuda")


def _peak_memory(steps: int, precision: str, device: torch.device) -> Result:
    name = f"THUMOS step, {steps:,} steps, {precision}: peak memory"
    if device.type == "cuda":
        return Result(f"{name}, GPU", _gpu_peak(steps, precision, device) / 1e6, "MB", device="cuda")
    with multiprocessing.get_context("spawn").Pool(1) as fresh:  # so that its peak is that of the step
        peak = fresh.apply(process_peak, (steps, precision))
    return Result(name, None if peak is None else peak / 1e6, "MB", note="of a process that does only this")


def process_peak(steps: int, precision: str) -> int | None:
    """Bytes: the highest resident memory of this process after a training step; None without Linux's /proc."""
    _train_once(steps, torch.device("cpu"), precision)
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)


def _gpu_peak(steps: int, precision: str, device: torch.device) -> int:
    torch.cuda.reset_peak_memory_stats(device)
    _train_once(steps, device, precision)
    return torch.cuda.max_memory_allocated(device)


def _train_once(steps: int, device: torch.device, precision: str) -> None:
    detector = networks.thumos_detector().train().to(device)
    networks.step(detector, 2048, [steps] * THUMOS_BATCH).training(precision)()


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
