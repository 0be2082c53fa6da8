"""Training steps and evaluation: counts and times."""

import resource
from collections.abc import Callable

import torch

from actloc.config import Training
from scripts.benchmarks import networks
from scripts.benchmarks.counting import Counts, at_lengths, count
from scripts.benchmarks.networks import ANET_BATCH, ANET_STEPS, THUMOS_STEPS, Step
from scripts.benchmarks.results import Result, best_seconds

EPOCHS_DRAWN = 10  # a thousand batches: the mean length is known to a percent


def quantiles(values: list[int], number: int) -> list[int]:
    """`number` of the values in the middles of as many equal shares."""
    ordered = sorted(values)
    return [ordered[int((place + 0.5) * len(ordered) / number)] for place in range(number)]


def thumos_counts(lengths: tuple[int, int], batches: list[list[int]]) -> tuple[Counts, Counts]:
    """A full step of 2,304 steps, and the mean over the padded lengths of `batches`, measured at two lengths.

    All three costs grow in a line with the length, but for the kernels, of which the most are taken.
    """
    detector = networks.thumos_detector().train()
    short, long = (count(detector, networks.step(detector, 2048, [length] * 2, length).loss) for length in lengths)
    padded = [detector.padded_steps(max(batch)) for batch in batches]
    kernels = max(short.kernels, long.kernels)

    def of(steps: list[int]) -> Counts:
        flops = at_lengths((lengths[0], short.flops), (lengths[1], long.flops), steps)
        saved = at_lengths((lengths[0], short.saved_bytes), (lengths[1], long.saved_bytes), steps)
        return Counts(flops, kernels, saved)

    return of([THUMOS_STEPS]), of(padded)


def count_results(quick: bool) -> list[Result]:
    """FLOPs, kernels and saved bytes of a step of both shapes."""
    full, mean = thumos_counts((320, 640) if quick else (1152, 2304), networks.drawn_batches(EPOCHS_DRAWN))
    detector = networks.anet_detector().train()
    anet = count(detector, networks.step(detector, 512, [ANET_STEPS] * ANET_BATCH).loss)
    return [
        Result("THUMOS step, mean batch: arithmetic", mean.flops / 1e9, "GFLOP", 514),
        Result("THUMOS step, 2,304 steps: arithmetic", full.flops / 1e9, "GFLOP", 514),
        Result("THUMOS step: operators, views not counted", mean.kernels, "kernels", 4104),
        Result("THUMOS step, mean batch: saved for backward", mean.saved_bytes / 1e6, "MB", 1314),
        Result("THUMOS step, 2,304 steps: saved for backward", full.saved_bytes / 1e6, "MB", 1314),
        Result("ActivityNet step: arithmetic", anet.flops / 1e9, "GFLOP", 91),
        Result("ActivityNet step: operators, views not counted", anet.kernels, "kernels"),
        Result("ActivityNet step: saved for backward", anet.saved_bytes / 1e6, "MB", 429),
    ]


def time_results(quick: bool) -> list[Result]:
    """CPU seconds of steps and of the network in evaluation; the mean over quantiles of the lengths."""
    number, repeats = (1, 1) if quick else (5, 3)
    return [
        *_thumos_times(number, repeats),
        *_anet_times(repeats),
        _evaluation_time(number, repeats),
        Result("peak memory of the process so far", _peak_bytes() / 1e6, "MB"),
    ]


def _thumos_times(number: int, repeats: int) -> list[Result]:
    detector = networks.thumos_detector().train()
    longest = [max(batch) for batch in networks.drawn_batches(EPOCHS_DRAWN)]
    steps = [networks.step(detector, 2048, [length] * 2) for length in quantiles(longest, number)]
    steps.append(networks.step(detector, 2048, [THUMOS_STEPS] * 2))
    times = [best_seconds(one.train, repeats) for one in steps]
    halves = _in_bfloat16(lambda: [best_seconds(one.train, repeats) for one in steps])
    name = f"THUMOS step, mean of {number} lengths"
    return [
        Result(f"{name}, float32", _mean(times[:-1]), "s", 4.52),
        Result("THUMOS step, 2,304 steps, float32", times[-1], "s", 4.52),
        Result(f"{name}, bfloat16", _mean(halves[:-1]) if halves else None, "s", 2.30),
        Result("THUMOS step, 2,304 steps, bfloat16", halves[-1] if halves else None, "s", 2.30),
    ]


def _anet_times(repeats: int) -> list[Result]:
    detector = networks.anet_detector().train()
    step = networks.step(detector, 512, [ANET_STEPS] * ANET_BATCH)
    seconds = best_seconds(step.train, repeats)
    half = _in_bfloat16(lambda: [best_seconds(step.train, repeats)])
    return [
        Result("ActivityNet step, float32", seconds, "s", 0.69),
        Result("ActivityNet step, bfloat16", half[0] if half else None, "s", 0.54),
    ]


def _evaluation_time(number: int, repeats: int) -> Result:
    detector = networks.thumos_detector().eval()
    steps: list[Step] = [
        networks.step(detector, 2048, [length]) for length in quantiles(networks.thumos_lengths("test"), number)
    ]
    seconds = _mean([best_seconds(step.evaluate, repeats) for step in steps])
    note = "official: wall time at 2,304 steps on a busy machine"
    return Result(f"THUMOS evaluation, a video, mean of {number} lengths", seconds, "s", 0.7, note)


def _in_bfloat16(measure: Callable[[], list[float]]) -> list[float] | None:
    """What is measured under autocast; None where actloc does not train in bfloat16."""
    if "precision" not in Training.model_fields:
        return None
    with torch.autocast("cpu", torch.bfloat16):
        return measure()


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _peak_bytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts kilobytes
