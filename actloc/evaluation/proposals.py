"""The true actions that the best segments of a video overlap, whatever their classes: AR@N and the area under it.

The measure of ActivityNet's task of action proposals, which BMN reports (Lin et al., 2019, arXiv 1907.09702).
"""

from collections.abc import Sequence
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, Field, PositiveInt, model_validator

from actloc.evaluation.columns import Floats, Integers, PredictionColumns, TruthColumns
from actloc.evaluation.uncertainty import CHECKED, Proportion
from actloc.ops.segments import iou


class ProposalRecall(BaseModel):
    """The share of true actions that the best N segments of a video overlap, for several N."""

    model_config = CHECKED

    numbers: Annotated[list[PositiveInt], Field(min_length=1)]
    """Each N: segments of a video, on average over the videos."""
    recall: list[list[Proportion]]
    """Per N, per tIoU; AR@N is the mean over tIoUs."""
    areas: list[Proportion]
    """Per tIoU, the area under the recall by N from 1 to the largest N, divided by that N; AUC is the mean.

    Perfect recall has an area of (N - 1) / N, as officially."""

    @model_validator(mode="after")
    def _lists_belong_together(self) -> Self:
        if len(self.recall) != len(self.numbers):
            raise ValueError(f"recall has length {len(self.recall)}, numbers has {len(self.numbers)}")
        return self

    def rows(self) -> list[tuple[str, list[float | None]]]:
        """`AR@N` for each N, and `AUC`, with their values per tIoU; the area up to N = 1 is none."""
        areas = [None if max(self.numbers) == 1 else area for area in self.areas]
        rows: list[tuple[str, list[float | None]]] = [
            (f"AR@{number}", [*row]) for number, row in zip(self.numbers, self.recall, strict=True)
        ]
        return [*rows, ("AUC", areas)]


def proposal_recall(
    truth: TruthColumns, predictions: PredictionColumns, tious: Sequence[float], numbers: Sequence[int]
) -> ProposalRecall:
    """AR@N for each of `numbers` and AUC, in the videos that have true actions.

    Where videos have different numbers of segments, the best N of a video are, as officially, the same share of each
    video's segments, such that these are N on average: long videos get more. A segment that is there with several
    classes counts once, with its highest score.
    """
    videos, video_of_truth = np.unique(truth.videos, return_inverse=True)
    segments, owners = _best_first(predictions, videos)
    counts = np.bincount(owners, minlength=len(videos))
    kept = _kept(counts, max(numbers))  # (N, V)
    places = _first_places(truth, segments, counts, video_of_truth, tious)  # (tIoUs, A)
    recall = np.array([(places < of_videos[video_of_truth]).mean(axis=1) for of_videos in kept])  # (N, tIoUs)
    areas = (recall[1:] + recall[:-1]).sum(axis=0) / 2 / len(recall)
    return ProposalRecall(
        numbers=list(numbers), recall=[recall[number - 1].tolist() for number in numbers], areas=areas.tolist()
    )


def _best_first(predictions: PredictionColumns, videos: Integers) -> tuple[Floats, Integers]:
    """The different segments (S, 2) of these videos, sorted by video and then best first, and each one's video (S,)."""
    place = np.searchsorted(videos, predictions.videos).clip(max=len(videos) - 1)
    is_known = videos[place] == predictions.videos
    rows = np.stack((place, predictions.starts_s, predictions.ends_s), axis=1)[is_known]
    different, number = np.unique(rows, axis=0, return_inverse=True)
    scores = np.full(len(different), -np.inf)
    np.maximum.at(scores, number.reshape(-1), predictions.scores[is_known])
    order = np.lexsort((-scores, different[:, 0]))
    return different[order, 1:], different[order, 0].astype(np.int64)


def _kept(counts: Integers, most: int) -> Integers:
    """How many segments of each video (V,) are among its best N, for N from 1 to `most`: (most, V)."""
    cut = _share(counts, most)
    return np.stack([_share(cut, number) for number in range(1, most + 1)])


def _share(counts: Integers, number: int) -> Integers:
    """The same share of each count, `number` on average, rounded down; all of them where there are fewer."""
    return np.minimum(counts, counts * number * len(counts) // max(counts.sum(), 1))


def _first_places(
    truth: TruthColumns, segments: Floats, counts: Integers, video_of_truth: Integers, tious: Sequence[float]
) -> Integers:
    """For each tIoU and true action the place of the first segment of its video that overlaps it enough: (tIoUs, A).

    Where none does, a place beyond all segments.
    """
    places = np.full((len(tious), len(truth)), len(segments))
    actions = np.stack((truth.starts_s, truth.ends_s), axis=1)
    for video, own in enumerate(np.split(segments, np.cumsum(counts)[:-1])):
        rows = np.flatnonzero(video_of_truth == video)
        if len(own) == 0:
            continue
        overlaps = iou(actions[rows][:, None], own)  # (A of the video, S of the video)
        for number, tiou in enumerate(tious):
            is_enough = overlaps >= tiou
            found = is_enough.any(axis=1)
            places[number, rows[found]] = is_enough[found].argmax(axis=1)
    return places
