"""The table of `scripts/bench end-to-end`: every preset on the sample videos, from one YAML that changes in it alone.

A run of each preset is trained and scored by the commands. Steps are then measured in one process that takes them in
turns, so that a busy machine slows all presets alike: processor time of that process, without the decoders'.
"""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actloc.training.trainer import Trainer

PRESETS = ("full", "chunked", "etad", "frozen")
CONFIG = "sample_efficientnet_end_to_end_actionformer"
QUICK = ("schedule.epochs=1", "schedule.warmup_epochs=1", "features.encoder.short_side=32", "features.encoder.crop=32")


@dataclass(frozen=True)
class Row:
    """What one preset needs and reaches."""

    preset: str
    average_map: float
    """Average mAP of the test videos in percent."""
    step_s: float
    """Processor seconds of the fastest measured step."""
    saved_mb: float
    """Peak of the bytes kept for the backward pass of a step."""
    frames_decoded: float
    """Pictures that the decoders gave per step."""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench end-to-end", description="Train the sample with every preset and compare them."
    )
    parser.add_argument("--quick", action="store_true", help="two epochs of small frames: only to see that all runs")
    parser.add_argument("--steps", type=int, default=4, help="steps to measure of each preset")
    parser.add_argument("--folder", type=Path, default=Path("ckpt/bench_end_to_end"), help="folder for the runs")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    overrides = [f"run.folder={options.folder}", "machine.device=cpu", *(QUICK if options.quick else ())]
    actloc("prepare", CONFIG, *overrides)
    scores = {preset: score(preset, overrides) for preset in PRESETS}
    steps = measured_steps(overrides, options.steps)
    rows = [Row(preset, scores[preset], *steps[preset]) for preset in PRESETS]
    show(rows)
    from actloc import files, provenance

    record = {"version": 1, "config": CONFIG, "machine": provenance.machine(), "rows": [asdict(row) for row in rows]}
    files.write_json(options.folder / "table.json", {**record, "commit": provenance.commit()})


def actloc(*arguments: str) -> None:
    """Runs a command, and shows what it says."""
    subprocess.run([sys.executable, "-m", "actloc", *arguments], check=True, stdout=subprocess.DEVNULL)


def score(preset: str, overrides: list[str]) -> float:
    """Trains and scores a run; returns its average mAP in percent."""
    from actloc.evaluation.results import read_results

    settings = [*overrides, f"features.preset={preset}", f"run.name={preset}"]
    actloc("train", CONFIG, *settings)  # goes on where it was stopped; a finished run is left as it is
    actloc("eval", CONFIG, *settings)
    folder = Path(overrides[0].partition("=")[2]) / preset
    return 100 * read_results(folder / "eval/test").average_map


def measured_steps(overrides: list[str], num_steps: int) -> dict[str, tuple[float, float, float]]:
    """For each preset: processor seconds of the fastest step, peak of its saved MB, frames decoded per step."""
    from actloc.end_to_end.memory import SavedBytes

    trainers = {preset: _trainer(preset, overrides) for preset in PRESETS}
    loaded = {preset: one.loader.batches(0, num_steps + 1) for preset, one in trainers.items()}
    seconds: dict[str, list[float]] = {preset: [] for preset in PRESETS}
    saved, decoded = dict.fromkeys(PRESETS, 0.0), dict.fromkeys(PRESETS, 0.0)
    for number in range(num_steps + 1):
        for preset, trainer in trainers.items():
            live = trainer.learner.source.live  # type: ignore[attr-defined]  # of the one task that there is
            before = live.reader.frames_decoded
            batches = next(loaded[preset])
            if number == 0:  # counting takes time, and the first step is slower anyway
                with SavedBytes(trainer.parameters) as counted:
                    trainer.train_step(batches)
                saved[preset] = counted.peak / 2**20
                continue
            start = time.process_time()
            trainer.train_step(batches)
            seconds[preset].append(time.process_time() - start)
            decoded[preset] += (live.reader.frames_decoded - before) / num_steps
    for trainer in trainers.values():
        trainer.learner.source.live.close()  # type: ignore[attr-defined]
    return {preset: (min(seconds[preset]), saved[preset], decoded[preset]) for preset in PRESETS}


def _trainer(preset: str, overrides: list[str]) -> "Trainer":
    from actloc import experiment as experiments
    from actloc.annotations import form
    from actloc.runs.trained import new_live_encoder, new_localizer
    from actloc.tasks.localization import LocalizationLearner
    from actloc.training.trainer import Trainer

    settings = [*overrides, f"features.preset={preset}", f"run.name={preset}", "machine.num_workers=0"]
    experiment = experiments.load(CONFIG, settings)
    annotations = form.read(experiment.dataset.annotations_file)
    source = experiment.features.build(annotations, experiment.dataset.training_subset, new_live_encoder(experiment))
    localizer = new_localizer(experiment, source.in_channels, len(annotations.classes))
    return Trainer(
        LocalizationLearner(localizer, source, annotations, lambda _: 0.0),
        experiment.run_folder,
        optimizer=experiment.optimizer,
        schedule=experiment.schedule,
        average=experiment.average,
        training=experiment.training,
        seed=experiment.run.seed,
        num_workers=0,
        about={},
    )


def show(rows: list[Row]) -> None:
    """Prints the table."""
    from rich.console import Console
    from rich.table import Table

    from actloc import provenance
    from scripts.benchmarks.results import processor

    table = Table(
        title=f"{CONFIG}, seed 0, 8 test videos",
        caption=f"Steps in turns, processor time on {processor()}; commit {provenance.commit()}; measured by us.",
    )
    for name in ("preset", "average mAP", "s per step", "saved MB", "frames decoded per step"):
        table.add_column(name, justify="left" if name == "preset" else "right")
    for row in rows:
        numbers = f"{row.average_map:.2f}", f"{row.step_s:.2f}", f"{row.saved_mb:.1f}", f"{row.frames_decoded:.0f}"
        table.add_row(row.preset, *numbers)
    Console(width=max(Console().width, 110)).print(table)


if __name__ == "__main__":
    main()
