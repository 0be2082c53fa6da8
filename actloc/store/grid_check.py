"""Whether videos have features, and as many rows as their durations ask for."""

from collections.abc import Sequence
from pathlib import Path

from actloc import console
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.errors import UserError
from actloc.video.windows import ClipLayout


def expected_steps(layout: ClipLayout, duration_s: float, fps: float) -> int:
    """The rows that a video's duration asks for, with frames counted at `fps`."""
    return layout.num_clips(round(duration_s * fps))


def fits(layout: ClipLayout, duration_s: float, fps: float, steps: int, tolerance_steps: float) -> bool:
    """Whether a video has the rows that its duration asks for, give or take `tolerance_steps`."""
    return abs(expected_steps(layout, duration_s, fps) - steps) <= tolerance_steps


def warn_of_misfits(num_misfits: int, num_videos: int, found: str) -> bool:
    """Whether so few videos do not fit that `features.allow_misfits` may let them be used, which a warning then says.

    `found` names the first three.
    """
    if 2 * num_misfits > num_videos:
        return False
    console.warn(f"{found}{', ...' if num_misfits > 3 else ''}; features.allow_misfits lets them be used")
    return True


def check_present(
    videos: Sequence[AnnotatedVideo],
    missing: Sequence[AnnotatedVideo],
    annotations: Annotations,
    subset: str,
    path: Path,
    mend: str,
    *,
    allow_missing: bool,
) -> None:
    """Raises UserError that names the videos of a subset without features, unless they are allowed and some have.

    `mend` is the command that makes them.
    """
    if videos and (allow_missing or not missing):
        return
    if not annotations.classes:
        raise UserError(
            "The annotations have no action.",
            "Expected actions, of one class at least, to learn and to score.",
            "Name them in a file, as configs/own_videos.yaml does: actloc show own_videos",
        )
    if not videos and not missing:
        subsets = sorted({video.subset for video in annotations.videos.values()})
        raise UserError(
            f"No video is in the subset {subset!r}.",
            f"The annotations have the subsets {', '.join(subsets) or 'none'}.",
            "Name one with dataset.training_subset, dataset.evaluation_subset or training.validation_subset.",
        )
    raise UserError(
        f"{path} has features of {len(videos)} of {len(videos) + len(missing)} videos of the subset {subset!r}; "
        f"missing: {console.first_ten([video.id for video in missing])}.",
        "Expected features of every video.",
        mend if allow_missing or not videos else f"{mend}; or go on without them: features.allow_missing=true",
    )
