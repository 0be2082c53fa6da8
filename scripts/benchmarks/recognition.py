"""A view and a training step of recognisers: arithmetic, memory and time."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from actloc.encoders import dualformer, tanet
from actloc.layers.multiply_adds import multiply_adds
from actloc.layers.precision import computing_in
from actloc.recognition.recognizer import Recognizer, new_classifier
from scripts.benchmarks.counting import count
from scripts.benchmarks.effort import QUICK, TOY, Effort
from scripts.benchmarks.results import Result, best_seconds, devices

CLASSES = 400  # of Kinetics-400
PRECISIONS = ("float32", "bfloat16")
NOTE = "recorded: of a second network, with the same outputs, at an unknown rate of products"


@dataclass(frozen=True)
class Case:
    """A network, and what was recorded of it in float32."""

    name: str
    config: tanet.Config | dualformer.Config
    view_gflop: float
    saved_mb: float
    """Kept for the backward pass of one clip."""
    view_s: float

    def recognizer(self) -> Recognizer:
        """With random weights, the same each time."""
        torch.manual_seed(0)
        encoder = self.config.network()
        return Recognizer(encoder, new_classifier(encoder, CLASSES))

    def clips(self) -> Tensor:
        """One clip (1, F, H, W, 3) of noise, as it is decoded."""
        shape = (1, self.config.frames, self.config.crop, self.config.crop, 3)
        return torch.randint(256, shape, dtype=torch.uint8)

    def small(self) -> "Case":
        """The same with a toy of a network."""
        return replace(self, config=type(self.config).small())


CASES = (
    Case("TANet-R50, 8 frames", tanet.Config(), 2 * 32.76, 0.81 * 2**30 / 1e6, 0.65),
    Case("DualFormer-T, 32 frames", dualformer.Config(mode="clip"), 2 * 59.86, 2.13 * 2**30 / 1e6, 2.71),
)


def results(effort: Effort) -> list[Result]:
    """All results of both networks."""
    cases = [case.small() for case in CASES] if effort is TOY else CASES
    return [result for case in cases for result in (*_counts(case), *_times(case, effort))]


def view_flops(case: Case) -> int:
    """Multiplications and additions of a view, counted without computing it."""
    with torch.device("meta"):
        recognizer, clips = case.recognizer(), case.clips()
    with torch.inference_mode():
        return 2 * multiply_adds(recognizer, lambda: recognizer(clips))


def loss(recognizer: Recognizer, clips: Tensor) -> Tensor:
    """What a training step on these clips minimises."""
    return F.cross_entropy(recognizer(clips), torch.zeros(len(clips), dtype=torch.long, device=clips.device))


def _counts(case: Case) -> list[Result]:
    recognizer, clips = case.recognizer().train(), case.clips()
    step = count(recognizer, lambda: loss(recognizer, clips))
    note = "without the products of values one by one, which are a part of TANet's views"
    return [
        Result(f"{case.name}, a view: arithmetic", view_flops(case) / 1e9, "GFLOP", case.view_gflop),
        Result(f"{case.name}, step of a clip: arithmetic", step.flops / 1e9, "GFLOP", note=note),
        Result(f"{case.name}, step of a clip: operators, views not counted", step.kernels, "kernels"),
        Result(f"{case.name}, step of a clip: saved for backward", step.saved_bytes / 1e6, "MB", case.saved_mb),
    ]


def _times(case: Case, effort: Effort) -> list[Result]:
    found = []
    for device in devices():
        recognizer, clips = case.recognizer().to(device), case.clips().to(device)
        where = "" if device.type == "cpu" else ", GPU"
        for precision in PRECISIONS[:1] if effort is QUICK else PRECISIONS:
            is_recorded = device.type == "cpu" and precision == "float32"
            view = best_seconds(_view(recognizer.eval(), clips, precision), effort.repeats, device)
            step = best_seconds(_step(recognizer.train(), clips, precision), effort.repeats, device)
            recorded = case.view_s if is_recorded else None
            found += [
                Result(f"{case.name}, a view, {precision}{where}", view, "s", recorded, NOTE, device.type),
                Result(f"{case.name}, step of a clip, {precision}{where}", step, "s", device=device.type),
            ]
    return found


def _view(recognizer: Recognizer, clips: Tensor, precision: str) -> Callable[[], None]:
    def classify() -> None:
        with torch.inference_mode(), computing_in(precision, clips.device):
            recognizer(clips)

    return classify


def _step(recognizer: Recognizer, clips: Tensor, precision: str) -> Callable[[], None]:
    def train() -> None:
        recognizer.zero_grad(set_to_none=True)
        with computing_in(precision, clips.device):
            total = loss(recognizer, clips)
        total.backward()  # type: ignore[no-untyped-call]

    return train
