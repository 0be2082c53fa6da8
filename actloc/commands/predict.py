"""`actloc predict RUN VIDEO...`: applies a trained run to new videos; a second call does what is left."""

import shlex
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from actloc import console
from actloc.errors import UserError
from actloc.experiment import Experiment
from actloc.extraction.plan import Shard
from actloc.prediction import tool_files, work
from actloc.prediction.base import Predicting
from actloc.prediction.burnt_in import LabelledCopies
from actloc.prediction.clips import Clips
from actloc.prediction.inputs import named_videos, with_ids
from actloc.prediction.made_files import without_made
from actloc.prediction.outcomes import RECORD_NAME, Outcomes
from actloc.prediction.video_files import VideoFiles
from actloc.reports import outputs
from actloc.tasks.base import TaskConfig, task_of


def run(
    experiment: Experiment,
    names: list[str],
    output: Path,
    *,
    overwrite: bool = False,
    shard: str | None = None,
    engine: str = "local",
    formats: str = "",
    video: bool = False,
    clips: Path | None = None,
    onnx: Sequence[Path] = (),
) -> int:
    """Checks the names, which may be mistyped, before anything is loaded; exit status 3 if some videos failed.

    `shard`, such as 2/8, is the share of the videos to predict here. The engine is local, or ray for a cluster.
    `onnx` are files with the run's networks, to be used in place of torch's.
    `formats` are forms of annotation tools to write as well, with commas between them. `video` asks for copies of the
    videos with labels, `clips` is a folder for the segments.
    """
    task = task_of(experiment)
    forms = tool_files.forms_named(formats)
    of_segments = [f"--format {formats}"] * bool(forms) + ["--video"] * video + ["--clips"] * (clips is not None)
    if of_segments and not task.finds_actions:
        option = of_segments[0]
        raise UserError(
            f"{option} was given, and the task is {task.name}.",
            "Expected a run that finds actions: it needs segments with labels, not a class of the whole video.",
            f"Remove {option.partition(' ')[0]}, or name a localization run.",
        )
    own = None if shard is None else Shard.parse(shard)
    if not names:
        raise UserError(
            "No videos were named.",
            "Expected video files, folders of them, or a .txt list of their paths.",
            "Name them after the run: actloc predict RUN VIDEO...",
        )
    load = _loading(task, experiment, onnx)
    predict_all = _engine(engine, experiment, load)
    named = named_videos(names, output, takes_frames=task.takes_frames)
    videos = without_made(named)
    if not videos:
        raise UserError(
            f"{console.first_ten(named)} {'was' if len(named) == 1 else 'were'} made by predict.",
            "Expected the videos themselves, not labelled copies or clips of them.",
            "Name the videos.",
        )
    ids = with_ids(videos, Outcomes(output).recorded())

    def summaries(video_ids: Sequence[str]) -> list[str]:
        return [*task.predicted_files(video_ids), *tool_files.names_of(forms, video_ids)]

    made = [RECORD_NAME, *summaries(list(ids))]
    outputs.refuse_others([output / name for name in made], overwrite=overwrite)
    kinds = _video_files(task, output, clips, has_copies=video, overwrite=overwrite)
    for kind in kinds:
        kind.check(ids)
    with closing(load()) as predicting:
        call = work.Call(videos, output, summaries, overwrite, own, forms, kinds)
        return work.run(call, predicting, predict_all)


def _loading(task: TaskConfig, experiment: Experiment, onnx: Sequence[Path]) -> Callable[[], Predicting]:
    """What loads the run, with the networks in files that are there."""
    for file in onnx:
        if not file.is_file():
            neighbours = [one.name for one in file.parent.glob("*.onnx")]
            raise UserError(
                f"{file} is not a file{console.nearest(file.name, neighbours, lists_known=False)}",
                "Expected a file that `actloc export-onnx` wrote of this run.",
                f"Run: actloc export-onnx {experiment.run_arguments} {shlex.quote(str(file))}",
            )
    return partial(task.predicting_with_onnx, experiment, onnx) if onnx else partial(task.predicting, experiment)


def _video_files(
    task: TaskConfig, output: Path, clips: Path | None, *, has_copies: bool, overwrite: bool
) -> list[VideoFiles]:
    """The kinds of video files that the folder may have; also those of earlier calls, which may be out of date."""
    kinds: list[VideoFiles] = []
    if task.finds_actions:
        kinds.append(LabelledCopies(output, is_wanted=has_copies, overwrite=overwrite))
    if clips is not None:
        kinds.append(Clips(clips, output, overwrite=overwrite))
    return kinds


def _engine(name: str, experiment: Experiment, load: Callable[[], Predicting]) -> work.Engine:
    if name == "local":
        return work.one_by_one
    from actloc.prediction import on_ray

    return on_ray.engine(load, experiment.machine.device)
