"""Tables of the data: true actions per scored video, and what each subset of the run's annotations is used for."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actloc import files
from actloc.errors import UserError
from actloc.evaluation.results import Results
from actloc.reports.cells import Cell, Table
from actloc.reports.text import UNMEASURED, percent

_RANGES = ((0, 0), (1, 1), (2, 2), (3, 5), (6, 10), (11, 20), (21, 50), (51, None))
_USES = {
    "dataset.training_subset": "training",
    "training.validation_subset": "validation during training",
    "dataset.evaluation_subset": "evaluation",
}


def data_tables(run: Path, chosen: Mapping[str, Any], results: Results) -> list[Table]:  # Any: YAML values
    """The table of instances per video, and that of subsets if the run kept its annotations."""
    subsets = _subsets(run, {**chosen, "dataset.evaluation_subset": results.subset})
    return [_instances(results), *([subsets] if subsets else [])]


def _instances(results: Results) -> Table:
    numbers = [len(video.truth) for video in results.videos]
    rows = []
    for low, high in _RANGES:
        inside = [number for number in numbers if low <= number and (high is None or number <= high)]
        if inside:
            name = f"{low} and more" if high is None else str(low) if low == high else f"{low} to {high}"
            texts = [name, str(len(inside)), percent(len(inside) / len(numbers)), str(sum(inside))]
            rows.append([Cell(text) for text in texts])
    return Table("True actions per video", ["actions in the video", "videos", "share (%)", "actions"], 1, rows, [])


def _subsets(run: Path, chosen: Mapping[str, Any]) -> Table | None:  # Any: YAML values
    """None without a readable copy of the annotations, or if the settings are not known."""
    uses: dict[str, list[str]] = {}
    for key, use in _USES.items():
        if isinstance(chosen.get(key), str):
            uses.setdefault(chosen[key].lower(), []).append(use)
    try:
        content = files.read_json(run / "annotations.json")
        # Any: what a damaged file may have
        videos: list[Any] = list(content["database"].values())
        read = [(str(video["subset"]), len(video["annotations"])) for video in videos]
    except (UserError, KeyError, TypeError, AttributeError):
        return None
    if "dataset.training_subset" not in chosen or not read:
        return None
    rows = []
    for subset, number in sorted(Counter(subset for subset, _ in read).items()):
        actions = [count for name, count in read if name == subset]
        texts = [subset, ", ".join(uses.get(subset.lower(), ["unused"])), str(number), str(actions.count(0))]
        rows.append([Cell(text or UNMEASURED) for text in (*texts, str(sum(actions)))])
    columns = ["subset", "used for", "videos", "without actions", "actions"]
    return Table("Videos of the annotations by use", columns, 2, rows, [])
