"""Checks before a detector is trained: that there is something to learn, and that it is where the features are."""

from dataclasses import dataclass

from actloc import console
from actloc.annotations.model import Action, Annotations
from actloc.annotations.uncollected import uncollected
from actloc.detectors.base import DetectorConfig
from actloc.errors import UserError
from actloc.settings import parts
from actloc.sources.base_source import Source


@dataclass(frozen=True)
class _Placed:
    """An action of a training video, with the end of the video's features and the length of a step, in seconds."""

    video_id: str
    action: Action
    end_s: float
    step_s: float


@uncollected()
def check_actions(annotations: Annotations, source: Source, training: str, evaluation: str) -> None:
    """Raises UserError if the subset `training` has nothing to learn of what the subset `evaluation` scores."""
    labels = {action.label for video in source.videos for action in video.actions}
    if not labels:
        without = " with features" if source.missing else ""
        raise UserError(
            f"The subset {training!r} has no action in its {console.count(len(source.videos), 'video')}{without}.",
            "Expected actions to learn.",
            "Check dataset.training_subset, and that the annotations name the videos as the features do.",
        )
    scored = {action.label for video in annotations.of_subset(evaluation) for action in video.actions}
    if scored and not labels & scored:
        raise UserError(
            f"No class of the subset {training!r} is scored: it has {console.first_ten(sorted(labels))}; "
            f"{evaluation!r} has {console.first_ten(sorted(scored))}.",
            "Expected a class that both subsets have.",
            "Check how the labels are written, and which videos are in which subset.",
        )
    placed = _placed(source)
    beyond = [one for one in placed if one.action.start_s >= one.end_s]
    if placed and len(beyond) == len(placed):
        first = beyond[0]
        raise UserError(
            f"All {console.count(len(placed), 'training action starts', 'training actions start')} after the features "
            f"of their videos end: {first.action.label} in {first.video_id} at {first.action.start_s:g} s, its "
            f"features at {first.end_s:.1f} s.",
            "Expected times in seconds, within the videos.",
            "If the annotations count frames, divide them by the frame rate and prepare again; else check features.fps "
            "and features.stride_frames.",
        )
    if beyond:
        names = console.first_ten(dict.fromkeys(one.video_id for one in beyond))
        starts = console.count(len(beyond), "training action starts", "training actions start")
        console.warn(f"{starts} after the features of the video end: {names}")


def check_annotated(detector: DetectorConfig, source: Source) -> None:
    """Raises UserError for partly annotated videos if the detector would learn their other time as background."""
    partly = [video.id for video in source.videos if video.annotated]
    if partly and not detector.ignores_unlabelled:
        able = [name for name in parts.names("detectors") if parts.find("detectors", name).Config.ignores_unlabelled]
        raise UserError(
            f"{console.count(len(partly), 'training video is', 'training videos are')} partly annotated "
            f"({console.first_ten(partly)}), and the losses of detector {detector.name} need all of a video.",
            "Expected fully annotated videos, or a detector whose losses ignore the time that is not annotated.",
            f"Use one of {', '.join(able)}, or annotate the videos whole",
        )


def short_actions(source: Source) -> str:
    """A sentence on the training actions that are shorter than a step of the features; empty if there are none."""
    placed = _placed(source)
    short = [one for one in placed if one.action.end_s - one.action.start_s < one.step_s]
    if not short:
        return ""
    steps = sorted({round(one.step_s, 2) for one in short})
    length = f"{steps[0]:g} s" if len(steps) == 1 else f"{steps[0]:g} to {steps[-1]:g} s"
    actions = console.count(len(placed), "action")
    return (
        f"{len(short)} of {actions} {'is' if len(short) == 1 else 'are'} shorter than a step of the features, {length}"
    )


def _placed(source: Source) -> list[_Placed]:
    """The actions of the videos whose features' length is known without reading them."""
    found = []
    for number, video in enumerate(source.videos):
        extent = source.extent(number)
        if extent is not None:
            found += [_Placed(video.id, action, extent.end_s, extent.step_s) for action in video.actions]
    return found
