"""The longest that an action may be: longer candidates are dropped, and their scores noted.

`watch` cannot do without: a segment waits for every candidate that may still overlap it. So that both find the same,
`predict` drops them as well, by default only in videos that are too long for one window: of a shorter one the detector
sees all, as in evaluation, which never drops any.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from actloc import console
from actloc.annotations import form
from actloc.detectors.base_network import Detector, PointDetector
from actloc.experiment import Experiment
from actloc.runs.long_videos import is_long
from actloc.structures import Detections, Sample

_TIMES_LONGEST = 2
"""Candidates may be this many times as long as the longest action of training, unless set."""


def longest_action(experiment: Experiment) -> float | None:
    """Seconds of the longest action that the run was trained on; None if its annotations are gone."""
    copy = experiment.run_folder / "annotations.json"
    file = copy if copy.is_file() else experiment.dataset.annotations_file
    lengths: Sequence[float] = ()
    if file.is_file():
        videos = form.read(file).of_subset(experiment.dataset.training_subset)
        lengths = [action.end_s - action.start_s for video in videos for action in video.actions]
    return max(lengths, default=None)


def longest_allowed(experiment: Experiment) -> float | None:
    """Seconds that a candidate may last, as set or by the actions of training; None if these are not known."""
    if experiment.prediction.longest_action_s is not None:
        return experiment.prediction.longest_action_s
    longest_s = longest_action(experiment)
    return None if longest_s is None else _TIMES_LONGEST * longest_s


def too_long(number: int, longest_s: float) -> str:
    """What is said of candidates that were dropped although their scores were high enough."""
    candidates, were = console.count(number, "candidate"), "was" if number == 1 else "were"
    return f"{candidates} above the score threshold {were} longer than {longest_s:g} s, and dropped"


@dataclass
class LengthLimit:
    """Drops what is too long of one video."""

    longest_s: Callable[[], float | None]
    """Asked for only where something may be dropped; None drops nothing."""
    is_for_all: bool
    """Whether it is for short videos as well."""
    too_long: list[tuple[int, float]] = field(default_factory=list)
    """Class and score of each candidate that was dropped."""

    def kept(self, found: Detections, sample: Sample, detector: Detector) -> Detections:
        """What is short enough of the candidates of a sample, in steps of it."""
        is_seen_whole = not isinstance(detector, PointDetector) or not is_long(detector, sample.num_steps)
        longest_s = None if is_seen_whole and not self.is_for_all else self.longest_s()
        if longest_s is None:
            return found
        longest_steps = longest_s * sample.grid.fps / sample.grid.stride_frames
        fits = found.segments[:, 1] - found.segments[:, 0] <= longest_steps
        self.too_long += zip(found.labels[~fits].tolist(), found.scores[~fits].tolist(), strict=True)
        return Detections(
            found.segments[fits], found.scores[fits], found.labels[fits], found.class_scores_of(fits), found.cut_by
        )
