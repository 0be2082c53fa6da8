"""The truth and the predictions of a scored subset, as metrics.json and predictions.json keep them, in columns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from actloc.evaluation.columns import Floats, PredictionColumns, TruthColumns
from actloc.evaluation.error_analysis.kinds import KINDS, classify
from actloc.evaluation.predictions import Predictions
from actloc.evaluation.results import Video


@dataclass(frozen=True)
class Subset:
    """Columns in the order of the files: videos as they are listed, each video's rows as they are listed."""

    videos: list[str]
    """The name of each video's number; those outside the subset, which only have predictions, come last."""
    labels: list[str]
    """The name of each label's number; those without true actions come last."""
    num_classes: int
    """The labels that have true actions."""
    durations_s: Floats
    """Of the videos of the subset."""
    truth: TruthColumns
    predictions: PredictionColumns


def subset_of(videos: Sequence[Video], predictions: Predictions) -> Subset:
    """The columns of the videos of a subset, with their true actions, and of all predictions."""
    video_ids = list(dict.fromkeys([*(video.id for video in videos), *predictions]))
    classes = dict.fromkeys(action.label for video in videos for action in video.truth)
    labels = list(dict.fromkeys([*classes, *(one.label for listed in predictions.values() for one in listed)]))
    number = {name: place for place, name in enumerate(labels)}
    true_rows = [
        (place, action.start_s, action.end_s, number[action.label])
        for place, video in enumerate(videos)
        for action in video.truth
    ]
    place_of = {video_id: place for place, video_id in enumerate(video_ids)}
    rows = [
        (place_of[video_id], one.start_s, one.end_s, number[one.label], one.score)
        for video_id, listed in predictions.items()
        for one in listed
    ]
    in_videos, starts, ends, of_labels = np.array(true_rows, dtype=np.float64).reshape(-1, 4).T
    truth = TruthColumns(in_videos.astype(np.int64), starts, ends, of_labels.astype(np.int64))
    in_videos, starts, ends, of_labels, scores = np.array(rows, dtype=np.float64).reshape(-1, 5).T
    found = PredictionColumns(in_videos.astype(np.int64), starts, ends, of_labels.astype(np.int64), scores)
    durations = np.array([video.duration_s for video in videos], dtype=np.float64)
    return Subset(video_ids, labels, len(classes), durations, truth, found)


def kinds_by_video(videos: Sequence[Video], predictions: Predictions, tiou: float) -> dict[str, list[str]]:
    """For each video the name of the kind (`KINDS`) of each of its predictions at `tiou`, in their order."""
    subset = subset_of(videos, predictions)
    kinds = iter(classify(subset.truth, subset.predictions, [tiou])[0].tolist())
    return {video_id: [KINDS[next(kinds)] for _ in listed] for video_id, listed in predictions.items()}
