"""The limits that left out detections of a run, for `eval` and `predict` to report."""

from collections import Counter
from collections.abc import Iterable

from actloc.experiment import Experiment
from actloc.structures import Detections


def cut_videos(experiment: Experiment, found: Iterable[Detections]) -> dict[str, int]:
    """By `section.key=value` of each limit, the number of videos of which it left out detections."""
    counts = Counter(setting for detections in found for setting in detections.cut_by)
    named = {}
    for setting, count in sorted(counts.items()):
        section, _, key = setting.partition(".")
        value = getattr(experiment.section(section), key)
        shown = value if value is not None else f"null with features.max_steps={experiment.features.max_steps}"
        named[f"{setting}={shown}"] = count
    return named
