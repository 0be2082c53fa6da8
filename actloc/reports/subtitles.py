"""Predicted actions as subtitles (SRT), which any player shows, and as lines of a CSV file."""

import csv
import io
from collections.abc import Mapping, Sequence

from actloc.evaluation.predictions import Prediction
from actloc.reports.text import csv_cell, one_line, score

_MS_PER_HOUR, _MS_PER_MINUTE, _MS_PER_SECOND = 3_600_000, 60_000, 1000


def as_srt(predictions: Sequence[Prediction]) -> str:
    """SRT text with one subtitle per segment, by start; players show overlapping ones together."""
    blocks = [
        f"{number}\n{_time(one.start_s)} --> {_time(one.end_s)}\n{_subtitle(one)}\n"
        for number, one in enumerate(sorted(predictions, key=lambda one: (one.start_s, one.end_s)), start=1)
    ]
    return "\n".join(blocks)


def as_csv(predictions: Mapping[str, Sequence[Prediction]]) -> str:
    """CSV text with the columns video, start, end (seconds), label and score, each video's segments in their order."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["video", "start", "end", "label", "score"])
    for video_id, claimed in predictions.items():
        for one in claimed:
            numbers = f"{one.start_s:.3f}", f"{one.end_s:.3f}"
            writer.writerow([csv_cell(video_id), *numbers, csv_cell(one.label), f"{one.score:.6g}"])
    return stream.getvalue()


def _subtitle(prediction: Prediction) -> str:
    # players interpret <i>, {\an8} and -->, and SRT has no escape: round brackets keep them text
    label = one_line(prediction.label).translate(str.maketrans("<>{}", "()()"))
    return f"{label} ({score(prediction.score)})"


def _time(time_s: float) -> str:
    total_ms = max(0, round(time_s * _MS_PER_SECOND))
    hours, rest_ms = divmod(total_ms, _MS_PER_HOUR)
    minutes, rest_ms = divmod(rest_ms, _MS_PER_MINUTE)
    whole_s, ms = divmod(rest_ms, _MS_PER_SECOND)
    return f"{hours:02d}:{minutes:02d}:{whole_s:02d},{ms:03d}"
