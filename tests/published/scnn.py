"""S-CNN on THUMOS14 (Shou et al., CVPR 2016): from its windows to the detections its authors scored."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from actloc.evaluation.columns import Floats
from actloc.evaluation.predictions import Prediction, Predictions
from actloc.ops.segments import iou

COLUMNS = (0, 1, 4, 5, 8, 10)
"""Of `seg_swin`: video number, frames of the window, start and end in seconds, score, class from 1."""


def detections(windows: Floats, weights: Floats, class_names: list[str], tiou: float) -> Predictions:
    """What was scored at `tiou`: the suppression depends on it. `windows` (N, 6) are `COLUMNS`, `weights` (6, 20)."""
    windows = windows[windows[:, 5] > 0]
    classes = windows[:, 5].astype(int) - 1
    # a window of 16, 32, ... 512 frames is trusted as far as actions of its class have that length
    scores = windows[:, 4] * weights[np.log2(windows[:, 1] / 16).astype(int), classes]
    found: Predictions = {}
    for rows in _groups(windows[:, 0], classes):
        video = found.setdefault(f"video_test_{int(windows[rows[0], 0]):07d}", [])
        for row in rows[list(_kept(windows[rows, 2:4], scores[rows], tiou - 0.1))]:
            start, end = (float(f"{value:.1f}") for value in windows[row, 2:4])
            video.append(Prediction(class_names[classes[row]], float(f"{scores[row]:.5g}"), start, end))
    return found


def _groups(videos: Floats, classes: NDArray[np.int_]) -> list[NDArray[np.intp]]:
    """Rows of each class of each video, in the file's order."""
    order = np.lexsort((classes, videos))
    is_new = (np.diff(videos[order]) != 0) | (np.diff(classes[order]) != 0)
    return np.split(order, np.flatnonzero(is_new) + 1)


def _kept(segments: Floats, scores: Floats, most_overlap: float) -> Iterator[int]:
    """Best first, of equal scores the last row; what overlaps an earlier pick by more than `most_overlap` goes."""
    waiting = np.argsort(scores, kind="stable")
    while len(waiting):
        best, waiting = waiting[-1], waiting[:-1]
        yield int(best)
        waiting = waiting[iou(segments[waiting], segments[best][None]) <= most_overlap]
