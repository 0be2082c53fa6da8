"""`actloc predict RUN VIDEO...`: applies a trained run to new videos."""

import shlex
from pathlib import Path

from actloc import console
from actloc.errors import UserError
from actloc.experiment import Experiment
from actloc.reports import outputs
from actloc.tasks.base import task_of
from actloc.video.clip_files import id_of, is_folder_of_frames
from actloc.video.folder import video_files


def run(experiment: Experiment, names: list[str], output: Path, *, overwrite: bool = False) -> int:
    """Checks the names, which may be mistyped, before anything is loaded."""
    task = task_of(experiment)
    _refuse_what_is_not_a_video(names, takes_frames=task.takes_frames)
    videos = [Path(name) for name in names]
    _refuse_equal_names(videos)
    made = [output / name for name in task.predicted_files(videos)]
    outputs.refuse_others(made, overwrite=overwrite)
    return task.predict(experiment, videos, output)


def _refuse_what_is_not_a_video(names: list[str], *, takes_frames: bool) -> None:
    """Raises UserError for URLs, pipes and mistyped names before anything runs; they are never opened."""
    others = (name for name in names if not Path(name).is_file())
    name = next((name for name in others if not (takes_frames and is_folder_of_frames(Path(name)))), None)
    if name is None:
        return
    path = Path(name)
    if "://" in name:
        found, todo = "a URL.", "Download the video first, then name the file."
    elif path.is_dir():
        inside = sorted(shlex.quote(str(video)) for video in video_files(path))
        found = "a folder."
        todo = (
            f"Name its videos: {console.first_ten(inside)}" if inside else "It has no videos in it: name video files."
        )
    else:
        neighbours = [video.name for video in video_files(path.parent)] if path.parent.is_dir() else []
        found, todo = f"not a file{console.nearest(path.name, neighbours, lists_known=False)}", "Check the path."
    raise UserError(
        f"{name} is {found}", f"Expected video files{' or folders of frames' * takes_frames} on this machine.", todo
    )


def _refuse_equal_names(videos: list[Path]) -> None:
    stems = [id_of(path) for path in videos]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise UserError(
            f"Several videos have the name {twice[0]!r}.",
            "File names without their extension must differ: results are named after them.",
            "Rename one, or run predict on each with another --output.",
        )
