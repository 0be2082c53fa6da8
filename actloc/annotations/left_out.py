"""Reports what annotations hold that cannot be used: each thing with its place and the reason, and how many."""

from pathlib import Path

from actloc import console, files
from actloc.annotations.model import Annotations
from actloc.annotations.own_actions import OwnActions

_NAME = "annotations_left_out.txt"
_MOST_LINES = 20


def report(listed: OwnActions, folder: Path | None) -> None:
    """Prints what was done with the files, and what was left out; the caller says how many things that are.

    The file of the dataset's `folder` lists all of it, and the first lines are printed; without one, every line is.
    """
    console.detail(f"The annotations are {listed.title}, form {listed.form}")
    for note in listed.notes[:_MOST_LINES]:
        console.say(note)
    if len(listed.notes) > _MOST_LINES:
        console.say(f"... and {len(listed.notes) - _MOST_LINES} more notes")
    is_listed = False
    if folder:
        try:
            _list(listed, file_in(folder))
            is_listed = True
        except OSError:
            pass  # a read-only folder must not hide what is left out
    if listed.left_out:
        lines = console.first_lines(listed.left_out) if is_listed else "\n  ".join(map(str, listed.left_out))
        console.warn(f"Not used:\n  {lines}", left_out=[str(one) for one in listed.left_out])


def _list(listed: OwnActions, file: Path) -> None:
    if listed.left_out:
        files.write_text(file, "".join(f"{' '.join(str(one).split())}\n" for one in listed.left_out))
    else:
        files.remove(file)  # of an earlier call


def file_in(folder: Path) -> Path:
    """The file in a dataset's folder that lists what its annotations hold that cannot be used."""
    return folder / _NAME


def read(folder: Path) -> list[str]:
    """What was left out of a dataset's annotations, a line for each thing."""
    file = file_in(folder)
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def summary(number: int, annotations: Annotations) -> str:
    """`3 of 20 rows` were left out of these annotations."""
    used = sum(len(video.actions) for video in annotations.videos.values())
    return f"{number} of {console.count(used + number, 'row')}"
