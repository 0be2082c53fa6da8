"""The table of `scripts/bench end-to-end`: every preset on the sample videos, from one YAML that changes in it alone.

A run of each preset is trained and scored by the commands; its steps are then measured (steps.py).
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

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


@dataclass(frozen=True)
class Table:
    """What is compared."""

    config: str
    what: str
    """Words for the title."""
    settings: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    """Settings in addition of presets without adapters."""
    quick: tuple[str, ...] = ()
    """Settings in addition with --quick."""
    with_adapters: tuple[str, ...] = ()
    """Presets with adapters, which are compared as well."""
    scores: Literal["all", "with adapters", "none"] = "all"
    """The presets that are trained and scored; of the others only steps are measured."""
    num_steps: int = 4

    def is_scored(self, preset: str) -> bool:
        """Whether a run of the preset is trained and scored."""
        return self.scores == "all" or (self.scores == "with adapters" and preset in self.with_adapters)


TABLES = {
    "sample": Table(CONFIG, "seed 0, 8 test videos", quick=QUICK),
    "swin": Table(CONFIG, "a small Video Swin with random weights", settings=SWIN, scores="none", num_steps=20),
    "vit": Table(
        VIT,
        "random weights, seed 0",
        plain=("features.encoder.adapters=null",),
        quick=SHORT,
        with_adapters=WITH_ADAPTERS,
        scores="with adapters",
        num_steps=20,
    ),
}


def main() -> None:
    """Measure, print, write."""
    from actloc.end_to_end.presets import FOR_ANY_ENCODER

    parser = argparse.ArgumentParser(
        prog="scripts/bench end-to-end", description="Train the sample with every preset and compare them."
    )
    parser.add_argument("--quick", action="store_true", help="two epochs of small frames: only to see that all runs")
    which = parser.add_mutually_exclusive_group()
    for name, words in (
        ("swin", "the steps of a small Video Swin, which is not trained"),
        ("vit", "a small vision transformer: the steps of all presets, and runs of those with adapters"),
    ):
        which.add_argument(f"--{name}", dest="table", action="store_const", const=name, default="sample", help=words)
    parser.add_argument("--presets", help="presets to compare, in this order; all if left out")
    parser.add_argument("--steps", type=int, help="steps to measure of each preset; 4, or 20 with --swin and --vit")
    parser.add_argument("--folder", type=Path, default=Path("ckpt/bench_end_to_end"), help="folder for the runs")
    options = parser.parse_args()
    table = TABLES[options.table]
    folder = options.folder if options.table == "sample" else options.folder / options.table
    presets = options.presets.split(",") if options.presets else [*FOR_ANY_ENCODER, *table.with_adapters]
    os.environ.setdefault("OMP_NUM_THREADS", str(steps.num_cores()))
    overrides = [*table.settings, *(table.quick if options.quick else ())]
    overrides += [f"run.folder={folder}", "machine.device=cpu"]
    steps.prepare(table.config, [*overrides, *table.plain], presets, folder)
    settings = {
        preset: steps.with_bank(
            table.config, [*overrides, *(() if preset in table.with_adapters else table.plain)], folder
        )
        for preset in presets
    }
    scores = {
        preset: score(table.config, preset, own, folder) for preset, own in settings.items() if table.is_scored(preset)
    }
    measured = steps.measured(table.config, settings, options.steps or table.num_steps)
    cells = [f"{scores[preset]:.2f}" if preset in scores else "-" for preset in presets]
    steps.show(f"{table.config}, {table.what}", measured, {"average mAP": cells if scores else []})
    rows = [{**asdict(costs), "average_map": scores.get(costs.preset)} for costs in measured]
    steps.write(folder / "table.json", table.config, overrides, rows)


def score(config: str, preset: str, overrides: Sequence[str], folder: Path) -> float:
    """Trains and scores a run; returns its average mAP in percent."""
    from actloc.evaluation.results_files import read_results

    settings = [*overrides, *steps.way(preset), f"run.name={preset}"]
    actloc("train", config, *settings)  # goes on where it was stopped; a finished run is left as it is
    actloc("eval", config, *settings)
    return 100 * read_results(folder / preset / "eval/test").average_map


if __name__ == "__main__":
    main()
