"""Features that --overwrite replaces: each video keeps its old ones until the new ones are whole.

STORE/<id>.h5.replaced is what STORE/<id>.h5 was. A video that fails gets its old features back, if they are whole and
of the store's recipe; others stay beside, for the user to decide.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from actloc import files
from actloc.store.sealed_file import is_others

_SUFFIX = ".replaced"


def set_aside(paths: Iterable[Path]) -> None:
    """Renames feature files, so that the store has none of them any more; files of other programs stay."""
    for path in [path for path in paths if not is_others(path)]:
        files.replace(path, _place(path))


def num_bytes(folder: Path) -> int:
    """The size of all files that are set aside."""
    return sum(old.stat().st_size for old in _all(folder))


def put_back(folder: Path, video_id: str, is_fit: Callable[[Path], bool]) -> Path | None:
    """Gives a video its old features back, if they are fit; returns where they are now, None if there are none.

    Features that the video has got since then stay.
    """
    path = _path(folder, video_id)
    old = _place(path)
    if not old.is_file():
        return None
    if path.exists() or not is_fit(old):
        return old
    files.replace(old, path)
    return path


def remove(folder: Path, video_id: str) -> None:
    """Deletes a video's old features, if there are any: it has new ones."""
    files.remove(_place(_path(folder, video_id)))


def remove_others(folder: Path, kept: Iterable[str]) -> None:
    """Deletes all old features but those of the videos `kept`."""
    places = {_place(_path(folder, video_id)) for video_id in kept}
    for old in _all(folder):
        if old not in places:
            files.remove(old)


def _path(folder: Path, video_id: str) -> Path:
    return folder / f"{files.safe_name(video_id)}.h5"


def _place(path: Path) -> Path:
    return path.with_name(path.name + _SUFFIX)


def _all(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"*.h5{_SUFFIX}") if path.is_file() and not is_others(path))
