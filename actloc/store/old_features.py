"""Features that --overwrite replaces: each video keeps its old ones until the new ones are whole.

STORE/<id>.h5.replaced is what STORE/<id>.h5 was. A video that fails gets its old features back, if they are whole and
of the store's recipe; others stay beside, for the user to decide.
"""

from collections.abc import Callable, Collection
from pathlib import Path

from actloc import files
from actloc.store.sealed_file import is_others

_SUFFIX = ".replaced"


def set_aside(paths: Collection[Path]) -> None:
    """Renames feature files: the store has none of them any more."""
    for path in paths:
        files.replace(path, _place(path))


def num_bytes(folder: Path) -> int:
    """The size of all files that are set aside."""
    return sum(old.stat().st_size for old in _all(folder))


def put_back(path: Path, is_fit: Callable[[Path], bool]) -> Path | None:
    """Gives a video its old features back, if they are fit; returns where they are now, None if there are none.

    Features that the video has got since then stay.
    """
    old = _place(path)
    if not old.is_file():
        return None
    if path.exists() or not is_fit(old):
        return old
    files.replace(old, path)
    return path


def remove(path: Path) -> None:
    """Deletes a video's old features, if there are any: it has new ones."""
    files.remove(_place(path))


def remove_others(folder: Path, kept: Collection[Path]) -> None:
    """Deletes all old features but those of the files `kept`."""
    places = {_place(path) for path in kept}
    for old in _all(folder):
        if old not in places:
            files.remove(old)


def _place(path: Path) -> Path:
    return path.with_name(path.name + _SUFFIX)


def _all(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"*.h5{_SUFFIX}") if path.is_file() and not is_others(path))
