"""`actloc explain RUN VIDEO`: where the network looked when it named an action, as an animation and contact sheet."""

from pathlib import Path

from actloc import console
from actloc.errors import UserError
from actloc.experiment import Experiment
from actloc.reports import explanations, outputs
from actloc.signals import stopping_at_once
from actloc.tasks.base import task_of
from actloc.video.clip_files import id_of, is_folder_of_frames
from actloc.video.folder import video_files


def run(
    experiment: Experiment,
    video: Path,
    label: str | None,
    at: tuple[float, float] | None,
    layer: str | None,
    fps: float,
    output: Path | None,
    overwrite: bool = False,
) -> int:
    """Explains the class and the segment that are asked for, or the best ones."""
    task = task_of(experiment)
    if not (video.is_file() or (task.takes_frames and is_folder_of_frames(video))):
        neighbours = [one.name for one in video_files(video.parent)] if video.parent.is_dir() else []
        raise UserError(
            f"{video} is not a file{console.nearest(video.name, neighbours, lists_known=False)}",
            f"Expected a video file{' or a folder of frames' * task.takes_frames} on this machine.",
            "Check the path.",
        )
    target = output or Path("explanations") / f"{id_of(video)}.gif"
    explanations.check_file(target)
    made = [target, target.with_suffix(".png")]
    outputs.refuse_others(made, overwrite=overwrite)
    with stopping_at_once(is_saved=False):
        explanation = task.explain(experiment, video, label, at, layer, fps)
    with outputs.recording(made):
        sheet = explanations.write(explanation, target, fps)
    if explanation.is_blank:
        console.warn(f"At layer {explanation.layer} nothing speaks for it: the map is zero everywhere. Try --layer")
    console.result(explanation.title)
    console.result(f"The heat is highest at {explanation.peak_s:.2f} s")
    console.say(f"Wrote {target} and {sheet}")
    console.emit(
        "explained",
        label=explanation.label,
        score=explanation.score,
        score_name=explanation.score_name,
        segment=explanation.segment_s,
        layer=explanation.layer,
        peak_s=explanation.peak_s,
        path=str(target),
        contact_sheet=str(sheet),
    )
    return 0
