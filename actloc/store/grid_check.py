"""Checks that videos have features, and as many rows as their durations give."""

from collections.abc import Mapping, Sequence

from actloc import console
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.errors import UserError
from actloc.video.windows import ClipSpacing


def expected_steps(spacing: ClipSpacing, duration_s: float, fps: float, vectors_per_clip: int = 1) -> int:
    """The number of rows that a video's duration gives, with frames counted at `fps`."""
    return spacing.num_rows(round(duration_s * fps), vectors_per_clip)


def fits(
    spacing: ClipSpacing,
    duration_s: float,
    fps: float,
    steps: int,
    tolerance_steps: float,
    vectors_per_clip: int = 1,
) -> bool:
    """Whether a video has the number of rows that its duration gives, within `tolerance_steps`.

    A frame more or less can be a clip more or less, so of several vectors per clip the tolerance is as many times that.
    """
    expected = expected_steps(spacing, duration_s, fps, vectors_per_clip)
    return abs(expected - steps) <= tolerance_steps * vectors_per_clip


def warn_of_misfits(num_misfits: int, num_videos: int, message: str) -> bool:
    """Whether at most half of the videos do not fit, so that `features.allow_misfits` may use them; warns if so.

    `message` names the first three.
    """
    if 2 * num_misfits > num_videos:
        return False
    console.warn(f"{message}{', ...' if num_misfits > 3 else ''}; using them because of features.allow_misfits")
    return True


def check_present(
    videos: Sequence[AnnotatedVideo],
    missing: Sequence[AnnotatedVideo],
    annotations: Annotations,
    subset: str,
    has: str,
    fix: str,
    notes: Mapping[str, str],
    *,
    allow_missing: bool,
) -> None:
    """Raises UserError that names the videos of a subset without features, unless `allow_missing` and some have them.

    The message begins with `has`, such as `STORE has features of`; `fix` is the command that makes them, and `notes`
    say what of a video is missing.
    """
    if videos and (allow_missing or not missing):
        return
    if not annotations.classes:
        raise UserError(
            "The annotations have no actions.",
            "Expected actions of at least one class, to train on and to score.",
            "List them in a file as configs/own_videos.yaml does: actloc show own_videos",
        )
    if not videos and not missing:
        subsets = sorted({video.subset for video in annotations.videos.values()})
        raise UserError(
            f"The subset {subset!r} has no videos.",
            f"Expected one of the subsets in the annotations: {', '.join(subsets) or 'none'}.",
            "Set dataset.training_subset, dataset.evaluation_subset or training.validation_subset to one of them.",
        )
    named = [f"{video.id} ({notes[video.id]})" if video.id in notes else video.id for video in missing]
    raise UserError(
        f"{has} {len(videos)} of {console.count(len(videos) + len(missing), 'video')} of the subset "
        f"{subset!r}; missing: {console.first_ten(named)}.",
        "Expected features of every video.",
        fix if allow_missing or not videos else f"{fix}; or leave these videos out: features.allow_missing=true",
    )
