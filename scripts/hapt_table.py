"""The work behind `scripts/hapt_table`: prepares, trains and scores each run, then prints Markdown."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import mean

CONFIG = "configs/hapt_imu_actionformer.yaml"
SEEDS = (0, 1, 2)
AVERAGES = {
    "ours": ("average.decay=0.999", "average.warm_up=true"),
    "0.99": ("average.decay=0.99", "average.warm_up=false"),
    "0.999": ("average.decay=0.999", "average.warm_up=false"),
}
LOOSE = (0.3, 0.4, 0.5, 0.6, 0.7)
STRICT = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
TIOUS = sorted({*LOOSE, *STRICT})


def actloc(*arguments: str) -> None:
    """Runs one command; its failure ends the script with its exit status."""
    done = subprocess.run([sys.executable, "-m", "actloc", *arguments], check=False, stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(done.returncode)


def score(folder: Path, weights: str) -> tuple[float, float]:
    """Average mAP in percent over tIoU 0.3-0.7 and 0.5-0.95."""
    actloc("eval", str(folder), f"evaluation.weights={weights}", f"evaluation.tious={TIOUS}")
    results = json.loads((folder / "eval" / ("test-raw" if weights == "raw" else "test") / "metrics.json").read_text())
    by_tiou = dict(zip(results["tious"], results["mean_ap"], strict=True))
    return 100 * mean(by_tiou[tiou] for tiou in LOOSE), 100 * mean(by_tiou[tiou] for tiou in STRICT)


def main(settings: list[str]) -> None:
    """All runs below ckpt/, then the table."""
    actloc("prepare", CONFIG, *settings)
    rows: dict[str, list[tuple[float, float]]] = {"raw": [], **{name: [] for name in AVERAGES}}
    for seed in SEEDS:
        for name, average in AVERAGES.items():
            folder = Path("ckpt") / f"hapt_seed{seed}_{name}"
            actloc("train", CONFIG, *settings, f"run.name={folder.name}", f"run.seed={seed}", *average)
            rows[name].append(score(folder, "averaged"))
        rows["raw"].append(score(folder, "raw"))  # averaging does not touch them: equal for every average
    print("| weights | " + " | ".join(f"seed {seed}" for seed in SEEDS) + " | mean |")  # noqa: T201 - the result
    print("|---|" + "---:|" * (len(SEEDS) + 1))  # noqa: T201 - the result
    for name, scores in rows.items():
        cells = [f"{loose:.2f} / {strict:.2f}" for loose, strict in scores]
        loose, strict = (mean(column) for column in zip(*scores, strict=True))
        print(f"| {name} | {' | '.join(cells)} | {loose:.2f} / {strict:.2f} |")  # noqa: T201 - the result


if __name__ == "__main__":
    main(sys.argv[1:])
