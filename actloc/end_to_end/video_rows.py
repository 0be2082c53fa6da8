"""The clips of a whole video, the rows of features that they give, and when these are."""

from dataclasses import dataclass

from actloc.ops.windows import even_grid, resized_grid
from actloc.store.info import row_grid
from actloc.structures import Grid
from actloc.video.clip_reader import VideoTimes
from actloc.video.windows import ClipLayout, ClipSpacing


@dataclass(frozen=True)
class VideoRows:
    """All rows of one video."""

    layout: ClipLayout
    num_rows: int
    grid: Grid
    interpolated_to: int | None = None
    """The number of rows, if they are interpolated between those that the clips give."""


def spread_rows(spacing: ClipSpacing, times: VideoTimes, count: int) -> VideoRows:
    """One row for each of `count` clips that are evenly spread over the video.

    Row i is for part i / count to (i + 1) / count of the video, as in ETAD, whose time runs from 0 to 1. Its clip is
    not exactly in the middle of that part: the first clip begins with the video and the last one ends with it, so clips
    are centred up to half a clip away, towards the middle of the video. The detector learns actions in these parts.
    """
    grid = even_grid(times.fps, times.num_frames, count)
    return VideoRows(spacing.spread_layout(times.num_frames, count), count, grid)


def spread_frame_rows(spacing: ClipSpacing, times: VideoTimes, count: int, rows_per_clip: int) -> VideoRows:
    """`count` rows of the whole video, interpolated between those of clips whose frames are evenly spread over it.

    Row i is for part i / count to (i + 1) / count of the video, as in AdaTAD's ActivityNet settings.
    """
    layout = spacing.spread_frames(times.num_frames, count // rows_per_clip, rows_per_clip)
    return VideoRows(layout, count, even_grid(times.fps, times.num_frames, count), interpolated_to=count)


def strided_rows(
    spacing: ClipSpacing, times: VideoTimes, vectors_per_clip: int, interpolated_to: int | None
) -> VideoRows:
    """The rows of clips every `stride_frames`, as they are or interpolated to another number."""
    layout = spacing.layout(times.num_frames, vectors_per_clip)
    num_rows = spacing.num_rows(times.num_frames, vectors_per_clip)
    grid = row_grid(times.fps, spacing.clip_frames, spacing.stride_frames, spacing.offset_frames, vectors_per_clip)
    if interpolated_to is None:
        return VideoRows(layout, num_rows, grid)
    resized = resized_grid(num_rows, grid, spacing.clip_frames / vectors_per_clip, interpolated_to)
    return VideoRows(layout, interpolated_to, resized, interpolated_to)
