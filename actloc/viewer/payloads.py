"""The data that the page asks for: JSON of the set and of one video, and columns of numbers as plain bytes."""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from actloc.reports.text import one_line
from actloc.viewer.converting import Converter
from actloc.viewer.judging import KINDS, Judge, Judged
from actloc.viewer.playing import Playing
from actloc.viewer.viewed import ViewedSet, ViewedVideo


def of_set(viewed: ViewedSet, converter: Converter) -> dict[str, Any]:  # Any: JSON values
    """What is known of all videos, without their segments."""
    classes = viewed.classes
    return {
        "title": one_line(viewed.title),
        "facts": [[one_line(name), one_line(value)] for name, value in viewed.facts],
        "hasTruth": viewed.has_truth,
        "classes": [one_line(label) for label in classes],
        "thresholds": [viewed.thresholds.get(label) for label in classes] if viewed.thresholds else None,
        "tious": [f"{tiou:g}" for tiou in viewed.tious],
        "kinds": list(KINDS),
        "videos": [
            {
                "id": one_line(video.id),
                "duration": video.duration_s,
                "truths": len(video.truth),
                "predictions": len(video.predictions),
                "hasFile": video.file is not None,
            }
            for video in viewed.videos
        ],
        "cache": {"folder": one_line(converter.folder), "mostBytes": converter.most_bytes},
    }


def columns(judge: Judge) -> bytes:
    """Little-endian: how many predictions and true actions (uint32 each), scores (float64), labels of both (uint16)."""
    truth, predictions = judge.truth, judge.predictions
    head = struct.pack("<II", len(predictions), len(truth))
    labels = predictions.labels.astype("<u2").tobytes() + truth.labels.astype("<u2").tobytes()
    return head + predictions.scores.astype("<f8").tobytes() + labels


def outcomes(judged: Judged) -> bytes:
    """Little-endian: the prediction that finds each true action (int32), and the kind of each prediction (uint8)."""
    return judged.found_by.astype("<i4").tobytes() + judged.kinds.astype(np.uint8).tobytes()


def of_video(video: ViewedVideo, classes: Sequence[str]) -> dict[str, Any]:  # Any: JSON values
    """The segments of one video, in the order of the columns; labels are numbers."""
    number = {label: place for place, label in enumerate(classes)}
    return {
        "truth": [[number[one.label], one.start_s, one.end_s] for one in video.truth],
        "predictions": [[number[one.label], one.start_s, one.end_s] for one in video.predictions],
        "annotated": [list(interval) for interval in video.annotated],
    }


def of_playing(video: ViewedVideo, facts: Playing, converter: Converter) -> dict[str, Any]:  # Any: JSON values
    """Whether the video plays, and how far its conversion is."""
    conversion = converter.conversion_of(video.file) if video.file and facts.state != "none" else None
    is_done = conversion is not None and conversion.state == "done"
    return {
        "state": "plays" if is_done else facts.state,
        "isCopy": is_done,
        "reason": one_line(facts.reason),
        "offset": facts.offset_s,
        "duration": facts.duration_s,
        "conversion": None
        if conversion is None
        else {"state": conversion.state, "share": conversion.share, "reason": one_line(conversion.reason)},
    }
