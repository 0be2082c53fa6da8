"""The table of `scripts/bench end-to-end`: every preset on the sample videos, from one YAML that changes in it alone.

A run of each preset is trained and scored by the commands; its steps are then measured (steps.py).
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from scripts.benchmarks import steps
from scripts.benchmarks.steps import actloc

CONFIG = "sample_efficientnet_end_to_end_actionformer"
QUICK = ("schedule.epochs=1", "schedule.warmup_epochs=1", "features.encoder.short_side=32", "features.encoder.crop=32")
_SWIN = "name: video_swin, size: {dim: 24, depths: [1, 1, 2, 1], heads: [1, 2, 4, 8]}, side: 64, crop: 64"
SWIN = (
    f"features.encoder={{{_SWIN}, rate_factor: 0.1}}",
    "features.clip_frames=16",
    "features.stride_frames=16",
    "features.chunk=4",
)
"""A small Video Swin with random weights in place of the sample's encoder; 8 vectors for each clip of 16 frames."""


def main() -> None:
    """Measure, print, write."""
    from actloc.end_to_end.presets import FOR_ANY_ENCODER

    parser = argparse.ArgumentParser(
        prog="scripts/bench end-to-end", description="Train the sample with every preset and compare them."
    )
    parser.add_argument("--quick", action="store_true", help="two epochs of small frames: only to see that all runs")
    parser.add_argument("--swin", action="store_true", help="the steps of a small Video Swin, which is not trained")
    parser.add_argument("--presets", default=",".join(FOR_ANY_ENCODER), help="presets to compare, in this order")
    parser.add_argument("--steps", type=int, help="steps to measure of each preset; 4, or 20 with --swin")
    parser.add_argument("--folder", type=Path, default=Path("ckpt/bench_end_to_end"), help="folder for the runs")
    options = parser.parse_args()
    presets = options.presets.split(",")
    folder = options.folder / "swin" if options.swin else options.folder
    os.environ.setdefault("OMP_NUM_THREADS", str(steps.num_cores()))
    overrides = [f"run.folder={folder}", "machine.device=cpu", *(QUICK if options.quick and not options.swin else ())]
    overrides += SWIN if options.swin else ()
    steps.prepare(CONFIG, overrides, presets, folder)
    overrides = steps.with_bank(CONFIG, overrides, folder)
    scores = {} if options.swin else {preset: score(preset, overrides, folder) for preset in presets}
    measured = steps.measured(CONFIG, overrides, presets, options.steps or (20 if options.swin else 4))
    what = "a small Video Swin with random weights" if options.swin else "seed 0, 8 test videos"
    steps.show(f"{CONFIG}, {what}", measured, {"average mAP": [f"{one:.2f}" for one in scores.values()]})
    rows = [{**asdict(costs), "average_map": scores.get(costs.preset)} for costs in measured]
    steps.write(folder / "table.json", CONFIG, overrides, rows)


def score(preset: str, overrides: Sequence[str], folder: Path) -> float:
    """Trains and scores a run; returns its average mAP in percent."""
    from actloc.evaluation.results import read_results

    settings = [*overrides, f"features.preset={preset}", f"run.name={preset}"]
    actloc("train", CONFIG, *settings)  # goes on where it was stopped; a finished run is left as it is
    actloc("eval", CONFIG, *settings)
    return 100 * read_results(folder / preset / "eval/test").average_map


if __name__ == "__main__":
    main()
