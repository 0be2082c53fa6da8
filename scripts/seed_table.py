"""The code of `scripts/seed_table`: prepares, trains and scores each run, then prints Markdown.

Commands leave finished work as it is and go on with work that was stopped, and so does the script.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from actloc import experiment
from actloc.errors import UserError
from actloc.evaluation.results import Results
from actloc.evaluation.results_files import read_results
from actloc.experiment import Experiment

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


def prepared(config: str, settings: list[str]) -> Experiment:
    """The experiment, with its annotations written, and the features that it trains on or its bank starts from."""
    actloc("prepare", config, *settings)
    base = experiment.load(config, settings)
    is_stored = base.features.encoder is not None and not base.features.trains_encoder
    if is_stored or base.features.bank_store is not None:
        actloc("extract-features", config, *settings)
    return base


def measure(config: str, settings: list[str]) -> dict[str, list[Scores]]:
    """For each kind of weights, the scores of every seed."""
    base = prepared(config, settings)
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


def compare(configs: list[str], settings: list[str]) -> dict[str, list[Results]]:
    """For each config, by its run's name, the results of every seed, trained and scored as the config says."""
    bases = [prepared(config, settings) for config in configs]
    rows: dict[str, list[Results]] = {base.run.name: [] for base in bases}
    if len(rows) < len(bases):
        sys.exit(f"seed_table: run.name is {bases[0].run.name} twice; expected one for each config. Leave it out.")
    for seed in SEEDS:
        for config, base in zip(configs, bases, strict=True):
            folder = base.run.folder / f"{base.run.name}_seed{seed}"
            actloc("train", config, *settings, f"run.name={folder.name}", f"run.seed={seed}")
            done = actloc("eval", str(folder))
            rows[base.run.name].append(read_results(Path(done["path"]).parent))
    return rows


def comparison(rows: dict[str, list[Results]]) -> str:
    """Markdown: a row for each config, a column for each seed, their mean, and how all of it was measured."""
    lines = [
        "| config | " + " | ".join(f"seed {seed}" for seed in SEEDS) + " | mean |",
        "|---|" + "---:|" * (len(SEEDS) + 1),
    ]
    for name, results in rows.items():
        percent = [100 * one.average_map for one in results if one.average_map is not None]
        lines.append(f"| `{name}` | " + " | ".join(f"{value:.2f}" for value in [*percent, mean(percent)]) + " |")
    every = [one for results in rows.values() for one in results]
    first = every[0]
    commits = sorted({str(one.commit) for one in every})
    machines = sorted({one.machine for one in every})
    lines.append(
        f"\nAverage mAP in percent over tIoU {', '.join(f'{tiou:g}' for tiou in first.tious)}; protocol "
        f"{first.protocol}, {first.counts.videos} videos of {first.dataset} {first.subset}; "
        f"commit {', '.join(commits)}; {', '.join(machines)}; measured by this command."
    )
    return "\n".join(lines)


def main() -> None:
    """Train and score three seeds, and print a Markdown table of average mAP in percent.

    One config is trained with three averages of its weights, and scored over tIoU 0.3-0.7 / 0.5-0.95. Several are
    trained and scored as they are, and compared.
    """
    parser = argparse.ArgumentParser(prog="scripts/seed_table", description=main.__doc__)
    parser.add_argument(
        "words",
        nargs="+",
        metavar="config|key=value",
        help="YAML files or names of some in configs/, and settings as for actloc; the names of all runs start with "
        "run.name",
    )
    words = parser.parse_args().words
    configs, settings = [word for word in words if "=" not in word], [word for word in words if "=" in word]
    if not configs:
        parser.error("expected a config before the settings")
    several = len(configs) > 1
    try:
        text = comparison(compare(configs, settings)) if several else table(measure(configs[0], settings))
    except UserError as error:  # such as that of a config of another task, which has no average mAP
        sys.exit(str(error))
    print(text)  # noqa: T201 - the result


if __name__ == "__main__":
    main()
