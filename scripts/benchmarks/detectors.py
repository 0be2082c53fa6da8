"""The table of `scripts/bench detectors`: parameters, multiply-adds and the training step of each detector.

No data are needed: features are noise, and videos are as long, and have as many actions, as those of the data usually
do. Windows, batches, losses, the optimizer and the averaged weights are those of training. Detectors take their steps
in turns, so that a busy machine slows all of them alike.
"""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch

from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.errors import ActlocError
from actloc.experiment import Experiment
from actloc.sources.base import SourceConfig
from actloc.sources.base_source import Source
from actloc.structures import Grid, Sample
from scripts.benchmarks.counting import forward_flops
from scripts.benchmarks.steps import trainer_on

DETECTORS = "actionformer", "temporalmaxer", "tridet", "dyfadet", "tadtr", "bmn", "etad"
CONFIGS = [f"{prefix}_{name}" for prefix in ("hapt_imu", "learnable") for name in DETECTORS]
_VIDEOS = 8


@dataclass(frozen=True)
class Data:
    """What the step of a detector depends on, with its settings."""

    channels: int
    """Of the features."""
    classes: int
    steps: int
    """Of every video, whose training windows are cropped at random."""
    actions: int
    """In a video, evenly spread."""
    action_steps: float
    """The length of each."""


DATA = {
    "hapt": Data(300, 12, 748, 20, 25.4),
    "learnable": Data(24, 5, 210, 2, 17.8),
    "sample": Data(1280, 5, 107, 4, 12.5),
    "own": Data(1280, 5, 1200, 20, 12.0),
}
"""By how names of configs begin: medians of the training videos; of own videos, which are yours, five minutes."""


@dataclass(frozen=True)
class Costs:
    """Of one detector with its settings."""

    config: str
    parameters: int
    """Those that learn."""
    multiply_adds: float
    """Of matrix products, convolutions and attention, to find the actions of one video, in all its windows."""
    step_s: float
    """Processor seconds of a training step, the median."""
    fastest_step_s: float
    window_steps: int
    """Feature steps of a training step: all windows of the batch, with their padding."""


class Noise(Source):
    """Videos of noise with evenly spread actions, one subset."""

    def __init__(self, config: SourceConfig, data: Data) -> None:
        fps = config.fps if isinstance(config.fps, float) else 30.0
        self._grid = Grid(fps, config.stride_frames, config.clip_frames / 2)
        seconds = config.stride_frames / fps
        duration_s = data.steps * seconds
        classes = tuple(f"class {number}" for number in range(data.classes))
        starts = [(number + 0.25) * duration_s / data.actions for number in range(data.actions)]
        self.videos = []
        for video in range(_VIDEOS):
            labels = [classes[(video + place) % len(classes)] for place in range(data.actions)]
            actions = tuple(
                Action(start, min(start + data.action_steps * seconds, duration_s), label)
                for start, label in zip(starts, labels, strict=True)
            )
            self.videos.append(AnnotatedVideo(f"video {video}", "train", actions, duration_s))
        self.annotations = Annotations(classes, {video.id: video for video in self.videos})
        super().__init__(config, self.annotations)
        self.missing, self.in_channels, self.encoder_weights_sha256 = [], data.channels, None
        self._shape = data.steps, data.channels

    def evaluation_sample(self, index: int) -> Sample:
        """All of video `index`, resized if the settings say so."""
        rows = torch.randn(self._shape, generator=torch.Generator().manual_seed(index))
        return self._sample(self.videos[index], *self.config.to_grid(rows, self._grid))


class Stepping:
    """The training of one config, step by step."""

    def __init__(self, config: str, experiment: Experiment, data: Data, num_steps: int) -> None:
        self.config, self.source = config, Noise(experiment.features, data)
        self.trainer = trainer_on(self.source, self.source.annotations, experiment)
        self._batches = self.trainer.loader.batches(0, num_steps + 1)
        self._seconds: list[float] = []
        self.step()
        self._seconds.clear()  # of the first step, which is slower

    def step(self) -> None:
        """One more step, its batch loaded before the clock starts."""
        batches = next(self._batches)
        start = time.process_time()
        self.trainer.train_step(batches)
        self._seconds.append(time.process_time() - start)
        self._windows = batches

    def costs(self) -> Costs:
        """Of the steps so far."""
        learner, localizer = self.trainer.learner, self.trainer.learner.localizer  # type: ignore[attr-defined]
        parameters = sum(one.numel() for one in self.trainer.parameters)
        padded = sum(math.prod(learner.features(batch)[1].shape) for batch in self._windows)
        samples, duration_s = self.source.evaluation_samples(0), self.source.videos[0].duration_s
        learner.detector.requires_grad_(False)  # the counter fails on parameters that learn in inference mode
        flops = forward_flops(lambda: localizer.detect_one(self.source, samples, duration_s))
        return Costs(self.config, parameters, flops / 2, median(self._seconds), min(self._seconds), padded)


def data_of(config: str, typical: Data | None = None) -> Data:
    """The data of a config by how its name begins, or `typical`; raises UserError for others."""
    from actloc.errors import UserError

    if typical is not None:
        return typical
    name = Path(config).stem
    for beginning, data in DATA.items():
        if name.startswith(beginning):
            return data
    raise UserError(
        f"{name} is of data that this benchmark does not know.",
        f"Expected a name that begins with {', '.join(DATA)}, or --data.",
        "Name its data: --data CHANNELS,CLASSES,STEPS,ACTIONS,ACTION_STEPS",
    )


def measured(configs: Sequence[str], num_steps: int, typical: Data | None = None) -> list[Costs]:
    """The costs of each config, from steps in turns."""
    from actloc import experiment as experiments
    from actloc.commands.training_run import be_repeatable

    loaded = [
        (Path(config).stem, experiments.load(config, ["machine.device=cpu"]), data_of(config, typical))
        for config in configs
    ]
    torch.set_num_threads(1)
    be_repeatable()  # as training is
    steppings = [Stepping(*one, num_steps) for one in loaded]
    for _ in range(num_steps):
        for stepping in steppings:
            stepping.step()
    return [stepping.costs() for stepping in steppings]


def table(rows: Sequence[Costs]) -> str:
    """Markdown: a row for each config."""
    lines = ["| config | parameters | multiply-adds | time of a step | fastest | steps in it |", "|---|" + "---:|" * 5]
    for row in rows:
        cells = (
            f"{row.parameters / 1e6:.3g} M",
            f"{row.multiply_adds / 1e9:.3g} G",
            f"{1000 * row.step_s:.0f} ms",
            f"{1000 * row.fastest_step_s:.0f} ms",
            f"{row.window_steps:,}",
        )
        lines.append(f"| `{row.config}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write; `arguments` are those of the command line if left out."""
    from actloc import console, files, provenance
    from actloc.command_line.exit_status import fail
    from scripts.benchmarks.results import processor

    parser = argparse.ArgumentParser(
        prog="scripts/bench detectors", description="Measure what each detector costs, on noise of the data's shape."
    )
    parser.add_argument("configs", nargs="*", metavar="CONFIG", help="names or files; those of the tables if left out")
    parser.add_argument("--steps", type=int, default=7, help="steps to measure of each; their median counts")
    parser.add_argument("--data", help="CHANNELS,CLASSES,STEPS,ACTIONS,ACTION_STEPS of a video, for other data")
    parser.add_argument("--output", type=Path, default=Path("ckpt/bench_detectors.json"), help="the JSON file to write")
    options = parser.parse_args(arguments)
    typical = None if options.data is None else _data(parser, options.data)
    if options.steps < 1:
        parser.error("--steps is below 1")
    try:
        rows = measured(options.configs or CONFIGS, options.steps, typical)
    except ActlocError as error:
        sys.exit(fail(error))
    console.result(table(rows))
    console.result(
        f"\nMedian of {options.steps} training steps in turns, processor time, one thread, {processor()}, torch "
        f"{torch.__version__}, commit {provenance.commit()}. Multiply-adds are those to find the actions of one video: "
        "matrix products, convolutions and attention; sums, maxima, gathers and samples between steps do not count."
    )
    record = {"version": 1, "machine": provenance.machine(), "commit": provenance.commit(), "steps": options.steps}
    files.write_json(options.output, {**record, "rows": [asdict(row) for row in rows]})


def _data(parser: argparse.ArgumentParser, text: str) -> Data:
    try:
        channels, classes, steps, actions, length = text.split(",")
        return Data(int(channels), int(classes), int(steps), int(actions), float(length))
    except ValueError:
        parser.error(f"--data: found {text}, expected CHANNELS,CLASSES,STEPS,ACTIONS,ACTION_STEPS")


if __name__ == "__main__":
    main()
