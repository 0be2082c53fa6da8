"""What `suggest` writes and prints: the table of windows, annotated intervals, pre-annotations, what to do next."""

import csv
import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from actloc import console
from actloc.annotations.annotated_time import Span, merged
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.annotations.rows import Segment, WrittenVideo
from actloc.annotations.writing import WritableForm
from actloc.experiment import Experiment
from actloc.prediction import tool_files
from actloc.reports.text import csv_cell
from actloc.runs.record import config_of
from actloc.settings import own_code

if TYPE_CHECKING:
    from actloc.localization.suggesting.suggestion import Suggestion

TABLE_NAME, INTERVALS_NAME, FAILED_NAME = "suggested.csv", "annotated.csv", "failed.jsonl"
_COLUMNS = (
    *("video", "start_s", "end_s", "value", "uncertainty", "disagreement", "coverage", "balance", "nearest_s"),
    *("predictions", "reason"),
)


def as_csv(found: Sequence["Suggestion"]) -> str:
    """The windows in the order of the suggestion; numbers as `choosing` and `doubt` define them."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for one in found:
        times = (f"{time:.3f}" for time in one.window)
        values = (
            one.choice.value,
            one.doubt.uncertainty,
            one.doubt.disagreement,
            one.choice.coverage,
            one.choice.balance,
            one.choice.nearest_s,
        )
        numbers = (f"{value:.4f}" for value in values)
        writer.writerow([csv_cell(one.video_id), *times, *numbers, len(one.found), csv_cell(one.reason)])
    return stream.getvalue()


def intervals_csv(intervals: Mapping[str, Sequence[Span]]) -> str:
    """A table of the annotated time as `dataset.annotated` takes it."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["video", "start", "end"])
    for video_id, spans in intervals.items():
        writer.writerows([video_id, f"{start:.6f}", f"{end:.6f}"] for start, end in spans)
    return stream.getvalue()


def written_videos(
    found: Sequence["Suggestion"], annotations: Annotations, paths: Mapping[str, Path]
) -> list[WrittenVideo]:
    """The videos of the windows, with what the run finds in these, once, and the windows as their annotated time.

    `paths` are those of videos that are not the dataset's own.
    """
    windows: dict[str, list[Suggestion]] = {}
    for one in found:
        windows.setdefault(one.video_id, []).append(one)
    videos = []
    for video_id, own in windows.items():
        known = annotations.videos.get(video_id) or AnnotatedVideo(video_id, "")
        inside = sorted(
            {claim for one in own for claim in one.found}, key=lambda one: (one.start_s, one.end_s, one.label)
        )
        segments = [Segment(one.start_s, one.end_s, one.label, one.score) for one in inside]
        video = tool_files.of_video(known, segments, paths.get(video_id))
        videos.append(replace(video, annotated=merged(one.window for one in own)))
    return videos


def show(found: Sequence["Suggestion"]) -> None:
    """A row for each window, and an event."""
    table = Table("", "video", "start s", "end s", "why", box=None)
    lines = []
    for number, one in enumerate(found, 1):
        start, end = one.window
        where = f"{start:.1f}", f"{end:.1f}"
        table.add_row(str(number), console.clean(one.video_id), *where, console.clean(one.reason))
        lines.append(f"{number}. {one.video_id} {start:.1f}-{end:.1f} s: {one.reason}")
        console.emit(
            "suggestion",
            rank=number,
            video=one.video_id,
            start_s=start,
            end_s=end,
            value=one.choice.value,
            uncertainty=one.doubt.uncertainty,
            disagreement=one.doubt.disagreement,
            coverage=one.choice.coverage,
            balance=one.choice.balance,
            predictions=len(one.found),
            reason=one.reason,
        )
    if found:
        console.result_table(table, lines)


def next_steps(
    experiment: Experiment, output: Path, forms: Sequence[WritableForm], *, has_new_videos: bool
) -> list[str]:
    """What to do with the files."""
    file = output / INTERVALS_NAME
    first = "Next: annotate every action in these windows"
    first += ", from the pre-annotations, and add them to your annotations" if forms else ""
    first += "; put new videos beside your others" if has_new_videos else ""
    if "annotated" not in type(experiment.dataset).model_fields:
        return [
            f"{first}. Dataset {experiment.dataset.name} has no dataset.annotated to state what is annotated: {file}"
        ]
    config = config_of(experiment.run_folder)
    again = shlex.join(["actloc", "prepare", config, f"dataset.annotated={file}", *own_code.options()])
    return [f"{first}. Then: {again}, and train with the same settings; run.name=ANOTHER keeps this run"]
