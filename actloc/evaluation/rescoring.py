"""Reads the truth of an evaluation back from its results, to measure more of the same predictions."""

from actloc.annotations.model import Action, AnnotatedVideo
from actloc.evaluation import scoring
from actloc.evaluation.results import Results


def truth_of(results: Results) -> scoring.Truth:
    """The true actions that were scored; without the protocol's repeats, which `eval` left out."""
    videos = [
        AnnotatedVideo(
            video.id,
            results.subset,
            tuple(Action(one.start_s, one.end_s, one.label) for one in video.truth),
            video.duration_s,
            ambiguous=tuple((start, end) for start, end in results.ambiguous.get(video.id, [])),
        )
        for video in results.videos
    ]
    return scoring.Truth(videos, {video.id: video.actions for video in videos}, tuple(results.classes), results.variant)
