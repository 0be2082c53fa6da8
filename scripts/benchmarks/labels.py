"""The table of `scripts/bench labels`: how many labels that were damaged on purpose the label audit finds.

Of the actions of the learnable set, 5 % get a shifted boundary (the start or the end, 30 to 60 % of the length, in or
out), 5 % another class, and 5 % are removed. An action is found if it is among the first rows of the audit, twice as
many as there are damaged ones: by its own row, of any kind, or, if it was removed, by a segment without an annotation
that overlaps it with a temporal IoU of 0.5.
"""

import argparse
import csv
import json
import platform
import random
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from actloc import console
from actloc.annotations import form
from actloc.annotations.model import Action, Annotations
from actloc.diagnosis.labels.suspicion import MATCH, overlap

CONFIG = "learnable_actionformer"
SHARE = 0.05
KINDS = ("shifted", "swapped", "removed")


@dataclass(frozen=True)
class Damaged:
    """An action before it was damaged, and after; None if it was removed."""

    kind: str
    video_id: str
    before: Action
    after: Action | None


def main() -> None:
    """Damage, train, audit, print, write."""
    parser = argparse.ArgumentParser(prog="scripts/bench labels", description="Measure the audit of damaged labels.")
    parser.add_argument("--seed", type=int, default=0, help="of the damage")
    parser.add_argument("--folds", type=int, default=3, help="folds of the second row")
    parser.add_argument("--folder", type=Path, default=Path("ckpt/bench_labels"), help="folder for runs and the table")
    options = parser.parse_args()
    folder = options.folder / f"seed_{options.seed}"
    settings = [f"dataset.folder={folder / 'annotations'}", f"run.folder={folder}"]
    file = folder / "annotations" / "annotations.json"
    if not (folder / "clean.json").is_file():
        _actloc("prepare", CONFIG, *settings)
        form.write(folder / "clean.json", form.read(file))
    annotations, listed = damage(form.read(folder / "clean.json"), options.seed)
    form.write(file, annotations)
    _actloc("train", CONFIG, *settings)
    table = {}
    for name, more in (("the run itself", []), (f"--folds {options.folds}", ["--folds", str(options.folds)])):
        _actloc("doctor", str(folder / CONFIG), "--labels", *more)
        table[name] = shares((folder / CONFIG / "label_audit.csv").read_text().splitlines(), listed)
    counts = {kind: sum(one.kind == kind for one in listed) for kind in KINDS}
    actions = sum(len(video.actions) for video in annotations.videos.values())
    console.result(
        f"{CONFIG}, seed {options.seed}, {actions} annotations after damage, first {2 * len(listed)} rows of each audit"
    )
    console.result(f"{'':>16}" + "".join(f"{f'{kind} ({counts[kind]})':>16}" for kind in KINDS) + f"{'all':>10}")
    for name, row in table.items():
        console.result(
            f"{name:>16}" + "".join(f"{100 * row[kind]:14.0f} %" for kind in KINDS) + f"{100 * row['all']:8.0f} %"
        )
    record = {"seed": options.seed, "machine": platform.processor(), "counts": counts, "found": table}
    (folder / "table.json").write_text(json.dumps(record, indent=1) + "\n")


def damage(annotations: Annotations, seed: int) -> tuple[Annotations, list[Damaged]]:
    """The annotations with damage, and what was done to them."""
    draw = random.Random(seed)
    places = [(video.id, number) for video in annotations.videos.values() for number in range(len(video.actions))]
    each = max(1, round(SHARE * len(places)))
    chosen = draw.sample(places, 3 * each)
    kinds = {place: KINDS[index // each] for index, place in enumerate(chosen)}
    videos, listed = {}, []
    for video in annotations.videos.values():
        actions = []
        for number, action in enumerate(video.actions):
            kind = kinds.get((video.id, number))
            after: Action | None = action
            if kind == "shifted":
                after = _shifted(action, video.duration_s, draw)
            elif kind == "swapped":
                after = replace(action, label=draw.choice([one for one in annotations.classes if one != action.label]))
            elif kind == "removed":
                after = None
            if kind is not None:
                listed.append(Damaged(kind, video.id, action, after))
            actions += [] if after is None else [after]
        videos[video.id] = replace(video, actions=tuple(actions))
    return replace(annotations, videos=videos), listed


def _shifted(action: Action, duration_s: float | None, draw: random.Random) -> Action:
    moved = draw.choice((-1, 1)) * draw.uniform(0.3, 0.6) * (action.end_s - action.start_s)
    if draw.random() < 1 / 2:
        start_s = action.start_s + moved
        return replace(action, start_s=start_s if start_s >= 0 else action.start_s - moved)
    end_s = action.end_s + moved
    return replace(action, end_s=end_s if duration_s is None or end_s <= duration_s else action.end_s - moved)


def shares(lines: list[str], listed: list[Damaged]) -> dict[str, float]:
    """The share of each kind of damage that the first rows of an audit's table name."""
    first = list(csv.DictReader(lines))[: 2 * len(listed)]
    found = [one for one in listed if any(_names(row, one) for row in first)]
    by_kind = {
        kind: sum(one.kind == kind for one in found) / max(1, sum(one.kind == kind for one in listed)) for kind in KINDS
    }
    return {**by_kind, "all": len(found) / len(listed)}


def _names(row: dict[str, str], one: Damaged) -> bool:
    if row["video"] != one.video_id:
        return False
    if one.after is not None:
        place = (f"{one.after.start_s:.3f}", f"{one.after.end_s:.3f}", one.after.label)
        return (row["start"], row["end"], row["label"]) == place
    if row["kind"] != "unlabelled":
        return False
    suggested = Action(float(row["suggested start"]), float(row["suggested end"]), row["suggested label"])
    return overlap(suggested, one.before) >= MATCH


def _actloc(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "actloc", *arguments], check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
