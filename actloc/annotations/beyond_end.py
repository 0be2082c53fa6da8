"""Recognises times in another unit than seconds: most actions then end after their video."""

from collections.abc import Iterable

from actloc import console
from actloc.annotations.model import CLIPPED_PAST_END_S, AnnotatedVideo


def other_unit(videos: Iterable[AnnotatedVideo]) -> str:
    """What is wrong if at least half of the actions end after their video; empty otherwise."""
    timed = [(action, video, video.duration_s) for video in videos for action in video.actions if video.duration_s]
    late = sum(action.end_s > duration_s + CLIPPED_PAST_END_S for action, _, duration_s in timed)
    if not late or 2 * late < len(timed):
        return ""
    found = f"{late} of {console.count(len(timed), 'action')} {'ends' if late == 1 else 'end'} after their video"
    if _fit((action.end_s / (video.fps or 1), duration_s) for action, video, duration_s in timed):
        return f"{found}. The times look like frames: divide them by the frames per second of each video"
    if _fit((action.end_s / 1000, duration_s) for action, _, duration_s in timed):
        return f"{found}. The times look like milliseconds: divide them by 1000"
    return f"{found}. Are the times in seconds?"


def _fit(ends: Iterable[tuple[float, float]]) -> bool:
    """Whether ends are in their videos, by the lengths of these, and not all at the very beginning."""
    shares = [end_s / (duration_s + CLIPPED_PAST_END_S) for end_s, duration_s in ends]
    return 0.1 < max(shares) <= 1


def all_start_after_end(videos: Iterable[AnnotatedVideo]) -> bool:
    """Whether there are actions in videos of known length, and all start after the end of their video."""
    late = [action.start_s >= video.duration_s for video in videos if video.duration_s for action in video.actions]
    return bool(late) and all(late)
