"""The code of `scripts/seed_table`: prepares, trains and scores each run, then prints Markdown."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from actloc import experiment

SEEDS = (0, 1, 2)
AVERAGES = {
    "ours": ("average.decay=0.999", "average.warm_up=true"),
    "0.99": ("average.decay=0.99", "average.warm_up=false"),
    "0.999": ("average.decay=0.999", "average.warm_up=false"),
}
LOOSE = (0.3, 0.4, 0.5, 0.6, 0.7)
STRICT = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
TIOUS = sorted({*LOOSE, *STRICT})
Scores = tuple[float, float]
"""Average mAP in percent over LOOSE and over STRICT."""


def actloc(*arguments: str) -> dict[str, Any]:  # Any: JSON values
    """The last event of a command, in JSON mode; exits with the command's status if it fails."""
    command = [sys.executable, "-m", "actloc", *arguments, "--json"]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    last: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return last


def score(folder: Path, weights: str) -> Scores:
    """Scores of one run's weights."""
    done = actloc("eval", str(folder), f"evaluation.weights={weights}", f"evaluation.tious={TIOUS}")
    results = json.loads(Path(done["path"]).read_text())
    by_tiou = dict(zip(results["tious"], results["mean_ap"], strict=True))
    return 100 * mean(by_tiou[tiou] for tiou in LOOSE), 100 * mean(by_tiou[tiou] for tiou in STRICT)


def measure(config: str, settings: list[str]) -> dict[str, list[Scores]]:
    """For each kind of weights, the scores of every seed."""
    actloc("prepare", config, *settings)
    base = experiment.load(config, settings)
    if base.features.encoder is not None:
        actloc("extract-features", config, *settings)
    rows: dict[str, list[Scores]] = {"raw": [], **{name: [] for name in AVERAGES}}
    for seed in SEEDS:
        for name, average in AVERAGES.items():
            folder = base.run.folder / f"{base.run.name}_seed{seed}_{name}"
            actloc("train", config, *settings, f"run.name={folder.name}", f"run.seed={seed}", *average)
            rows[name].append(score(folder, "averaged"))
        rows["raw"].append(score(folder, "raw"))  # the same for every average
    return rows


def table(rows: dict[str, list[Scores]]) -> str:
    """Markdown: a row for each kind of weights, a column for each seed, and the mean."""
    lines = [
        "| weights | " + " | ".join(f"seed {seed}" for seed in SEEDS) + " | mean |",
        "|---|" + "---:|" * (len(SEEDS) + 1),
    ]
    for name, scores in rows.items():
        loose, strict = (mean(column) for column in zip(*scores, strict=True))
        cells = [f"{loose:.2f} / {strict:.2f}" for loose, strict in [*scores, (loose, strict)]]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Train and score three seeds with three averages; print average mAP in percent over tIoU 0.3-0.7 / 0.5-0.95."""
    parser = argparse.ArgumentParser(prog="scripts/seed_table", description=main.__doc__)
    parser.add_argument("config", help="a YAML file or the name of one in configs/")
    parser.add_argument(
        "settings", nargs="*", help="key.key=value, as for actloc; the names of all runs start with run.name"
    )
    options = parser.parse_args()
    print(table(measure(options.config, options.settings)))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
