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
SHORT = ("schedule.epochs=1", "schedule.warmup_epochs=1")
QUICK = (*SHORT, "features.encoder.short_side=32", "features.encoder.crop=32")
_SWIN = "name: video_swin, size: {dim: 24, depths: [1, 1, 2, 1], heads: [1, 2, 4, 8]}, side: 64, crop: 64"
SWIN = (
    f"features.encoder={{{_SWIN}, rate_factor: 0.1}}",
    "features.clip_frames=16",
    "features.stride_frames=16",
    "features.chunk=4",
)
"""A small Video Swin with random weights in place of the sample's encoder; 8 vectors for each clip of 16 frames."""

VIT = "sample_videomae_actionformer"
"""A vision transformer of two blocks with random weights; its adapters learn, or, in other presets, it has none."""
WITH_ADAPTERS = ("adatad", steps.LADDER)


def main() -> None:
    """Measure, print, write."""
    from actloc.end_to_end.presets import FOR_ANY_ENCODER

    parser = argparse.ArgumentParser(
        prog="scripts/bench end-to-end", description="Train the sample with every preset and compare them."
    )
    parser.add_argument("--quick", action="store_true", help="two epochs of small frames: only to see that all runs")
    parser.add_argument("--swin", action="store_true", help="the steps of a small Video Swin, which is not trained")
    parser.add_argument(
        "--vit", action="store_true", help="a small vision transformer: all presets' steps, and runs with adapters"
    )
    parser.add_argument("--presets", help="presets to compare, in this order")
    parser.add_argument("--steps", type=int, help="steps to measure of each preset; 4, or 20 with --swin and --vit")
    parser.add_argument("--folder", type=Path, default=Path("ckpt/bench_end_to_end"), help="folder for the runs")
    options = parser.parse_args()
    usual = (*FOR_ANY_ENCODER, *WITH_ADAPTERS) if options.vit else FOR_ANY_ENCODER
    presets = options.presets.split(",") if options.presets else list(usual)
    config, what, trained = CONFIG, "seed 0, 8 test videos", presets
    folder, overrides = options.folder, list(QUICK if options.quick else ())
    if options.swin:
        folder, overrides, trained = options.folder / "swin", list(SWIN), []
        what = "a small Video Swin with random weights"
    if options.vit:
        config, folder, overrides = VIT, options.folder / "vit", list(SHORT if options.quick else ())
        what, trained = "random weights, seed 0", [preset for preset in presets if preset in WITH_ADAPTERS]
    overrides += [f"run.folder={folder}", "machine.device=cpu"]
    os.environ.setdefault("OMP_NUM_THREADS", str(steps.num_cores()))
    plain = [*overrides, *(["features.encoder.adapters=null"] if options.vit else [])]
    steps.prepare(config, plain, presets, folder)
    overrides, plain = (steps.with_bank(config, one, folder) for one in (overrides, plain))
    scores = {preset: score(config, preset, overrides, folder) for preset in trained}
    settings = {preset: overrides if preset in WITH_ADAPTERS else plain for preset in presets}
    measured = steps.measured(config, settings, options.steps or (20 if options.swin or options.vit else 4))
    cells = [f"{scores[preset]:.2f}" if preset in scores else "-" for preset in presets]
    steps.show(f"{config}, {what}", measured, {"average mAP": cells if scores else []})
    rows = [{**asdict(costs), "average_map": scores.get(costs.preset)} for costs in measured]
    steps.write(folder / "table.json", config, overrides, rows)


def score(config: str, preset: str, overrides: Sequence[str], folder: Path) -> float:
    """Trains and scores a run; returns its average mAP in percent."""
    from actloc.evaluation.results import read_results

    settings = [*overrides, *steps.way(preset), f"run.name={preset}"]
    actloc("train", config, *settings)  # goes on where it was stopped; a finished run is left as it is
    actloc("eval", config, *settings)
    return 100 * read_results(folder / preset / "eval/test").average_map


if __name__ == "__main__":
    main()
