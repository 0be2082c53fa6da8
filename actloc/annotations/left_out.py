"""Reports what annotations hold that cannot be used: each thing with its place and the reason, and how many."""

from pathlib import Path

from actloc import console, files
from actloc.annotations.own_actions import OwnActions

_NAME = "annotations_left_out.txt"
_MOST_LINES = 20


def report(listed: OwnActions, folder: Path | None) -> None:
    """Prints what was done with the files, and what was left out: all of it, or the first lines and a file with all.

    The file is in `folder`; without one, every line is printed, and the caller says how many they are.
    """
    console.detail(f"The annotations are {listed.title}, form {listed.form}")
    for note in listed.notes[:_MOST_LINES]:
        console.say(note)
    if len(listed.notes) > _MOST_LINES:
        console.say(f"... and {len(listed.notes) - _MOST_LINES} more notes")
    if not listed.left_out:
        return
    where = ""
    if folder and len(listed.left_out) > _MOST_LINES:
        listing = folder / _NAME
        try:
            files.write_text(listing, "".join(f"{one}\n" for one in listed.left_out))
            where = f"; all are listed in {listing}"
        except OSError:
            where = ""  # a read-only folder must not hide what is left out
    lines = console.first_lines(listed.left_out) if where else "\n  ".join(map(str, listed.left_out))
    console.warn(f"Not used:\n  {lines}", left_out=[str(one) for one in listed.left_out])
    if folder:
        console.say(f"Left out {summary(listed)}{where}")


def summary(listed: OwnActions) -> str:
    """`3 of 20 rows`, with what they are in words."""
    used = sum(len(video.actions) for video in listed.videos.values())
    number = len(listed.left_out)
    return f"{number} of {console.count(used + number, 'row')}"
