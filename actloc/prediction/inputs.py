"""Which videos the arguments of `predict` mean, and the id of each: what its results are named after."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from actloc import console, files
from actloc.errors import UserError
from actloc.video.clip_files import ClipFiles, id_of, is_folder_of_frames
from actloc.video.folder import video_files, videos_below

_LIST = ".txt"


def named_videos(names: Sequence[str], output: Path, *, takes_frames: bool) -> list[Path]:
    """The videos that files, folders and lists of paths (.txt) name, each once, in their order.

    Nothing is opened but lists. `output` is left out of folders. With `takes_frames` a folder of frames is a video.
    Raises UserError for what is no video: addresses, pipes, mistyped names, folders and lists without videos.
    """
    found: list[Path] = []
    for name in names:
        path = Path(name)
        if path.suffix.lower() == _LIST and path.is_file():
            found += _of_list(path, output, takes_frames=takes_frames)
        else:
            found += _meant(path, name, output, takes_frames=takes_frames)
    first: dict[str, Path] = {}
    for path in found:
        first.setdefault(absolute(path), path)
    return list(first.values())


def absolute(path: Path) -> str:
    """The path from the root, without `..`; links stay what they are, since each name is a video."""
    return os.path.normpath(path.absolute())


def _of_list(file: Path, output: Path, *, takes_frames: bool) -> list[Path]:
    """The videos of a list: paths from the working folder, or from the list's own folder.

    Empty lines, and lines that begin with # and are no such path, are comments.
    """
    found, problems = [], []
    for number, line in enumerate(files.read_lines(file), start=1):
        name = line.strip()
        if not name:
            continue
        path = Path(name) if Path(name).exists() else file.parent / name
        if name.startswith("#") and not path.exists():
            continue
        try:
            found += _meant(path if path.exists() else Path(name), name, output, takes_frames=takes_frames)
        except UserError as error:
            problems.append(f"line {number}: {error.found}")
    if problems:
        raise UserError(
            f"{console.count(len(problems), 'line')} of {file} cannot be used:\n  {console.first_lines(problems)}",
            "Expected a path of a video or of a folder of videos in each line.",
            "Correct these lines, or remove them.",
        )
    if not found:
        raise UserError(f"{file} names no videos.", "Expected a path of a video in each line.", "Add some.")
    return found


def _meant(path: Path, name: str, output: Path, *, takes_frames: bool) -> list[Path]:
    """The video at a path, or those below a folder; raises UserError for anything else."""
    expected = f"Expected video files{' or folders of frames' * takes_frames}, or folders of them, on this machine."
    if path.is_file() or (takes_frames and is_folder_of_frames(path)):
        return [path]
    if path.is_dir():
        found = ClipFiles(path).found if takes_frames else videos_below(path, skip=[output])
        if found:
            return found
        raise UserError(f"{name} is a folder.", expected, "It has no videos in it: name video files.")
    if "://" in name:
        raise UserError(f"{name} is a URL.", expected, "Download the video first, then name the file.")
    if path.exists():
        raise UserError(f"{name} is a pipe or a device.", expected, "Save the video in a file, then name it.")
    neighbours = [video.name for video in video_files(path.parent)] if path.parent.is_dir() else []
    near = console.nearest(path.name, neighbours, lists_known=False)
    raise UserError(f"{name} is not a file{near}", expected, "Check the path.")


def with_ids(videos: Sequence[Path], recorded: Mapping[str, str]) -> dict[str, Path]:
    """The videos by id: their names without suffix, with the folders above where several have the same: day1__walk.

    `recorded` has the ids of absolute paths that have results; these keep theirs. Raises UserError if two videos still
    have one id.
    """
    places = {path: absolute(path) for path in videos}
    alike: dict[str, set[str]] = defaultdict(set)
    for path in videos:
        alike[id_of(path)].add(places[path])
    for place, video_id in recorded.items():
        if video_id in alike and Path(place).exists():
            alike[video_id].add(place)
    found: dict[str, Path] = {}
    for path in videos:
        video_id = recorded.get(places[path]) or _id_among(path, places[path], alike[id_of(path)])
        if video_id in found:
            raise UserError(
                f"{found[video_id]} and {path} would both have the id {video_id!r}.",
                "Expected file names that differ without their suffixes, or are in folders of different names.",
                "Rename one, or run predict on each with another --output.",
            )
        found[video_id] = path
    return found


def _id_among(path: Path, place: str, alike: Iterable[str]) -> str:
    """The shortest id that tells a video from others of its name."""
    others = [Path(other) for other in alike]
    if len(others) == 1:
        return id_of(path)
    parents = [str(other.parent) for other in others]
    if parents.count(str(Path(place).parent)) > 1:  # only the suffixes differ
        return path.name
    above = Path(place).parent.relative_to(os.path.commonpath(parents))
    return "__".join([*above.parts, id_of(path)])
