"""The files that `predict` writes, by name: known before the run is loaded."""

from collections.abc import Sequence

from actloc import files

SUMMARIES = ["predictions.json", "segments.csv", "timelines.html", "failed.jsonl"]
"""The names of the files that are made of all results."""


def written_files(video_ids: Sequence[str]) -> list[str]:
    """The names of all files: summaries, and the subtitles of each video."""
    return [*SUMMARIES, *(subtitles_file(video_id) for video_id in video_ids)]


def subtitles_file(video_id: str) -> str:
    """The name of the file of a video's subtitles."""
    return f"{files.safe_name(video_id)}.srt"
