"""Finds the videos and folders of frames that lists name, at any depth below a folder."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from actloc.annotations.video_names import VIDEO_SUFFIXES
from actloc.errors import UserError
from actloc.video.base import FRAME_NAME, FRAMES_FILE


def is_folder_of_frames(path: Path) -> bool:
    """Whether it is a folder with numbered frames in it, not in folders in it."""
    if not path.is_dir():
        return False
    with os.scandir(path) as entries:
        return any(_is_frame(entry.name) for entry in entries)


def id_of(path: Path) -> str:
    """The name of a video: that of its file without suffix, or of its folder of frames."""
    return path.name if path.is_dir() else path.stem


class ClipFiles:
    """The videos and folders of frames below a folder. Symbolic links are followed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: list[Path] = []
        """All of them, in the order of their paths."""
        self._walk(folder, set())
        self.found.sort()
        self._folders = {name for path in self.found for name in path.relative_to(folder).parts[:-1]}
        self._by_name: dict[str, list[Path]] = {}
        for path in self.found:
            self._by_name.setdefault(_stem(path.name), []).append(path)

    def _walk(self, folder: Path, seen: set[tuple[int, int]]) -> None:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:  # a link to a folder above
            return
        seen.add((status.st_dev, status.st_ino))
        folders = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_frame(entry.name) and folder != self.folder:
                    self.found.append(folder)  # without a look at its other frames, which may be many
                    return
                if entry.is_dir():
                    folders.append(Path(entry.path))
                elif Path(entry.name).suffix.lower() in VIDEO_SUFFIXES:
                    self.found.append(Path(entry.path))
        for inner in folders:
            self._walk(inner, seen)

    def find(self, wanted: Iterable[str]) -> dict[str, Path]:
        """The file of each path that has one; lists write paths of this or another machine, with or without suffix.

        A file is in any folder; but if there is a folder of the name that the path says, it is in that one. A file that
        several paths could mean is that of the path whose folders it shares. Raises UserError if a path could mean two
        files.
        """
        candidates = {path: self._best(path) for path in wanted}
        shared: dict[Path, int] = {}
        for match in candidates.values():
            if match:
                shared[match[1]] = max(shared.get(match[1], 0), match[0])
        return {path: match[1] for path, match in candidates.items() if match and match[0] == shared[match[1]]}

    def _best(self, wanted: str) -> tuple[int, Path] | None:
        """The file meant by a path, and how many of the path's parts it shares, from the last."""
        if Path(wanted).is_absolute() and _is_clip(Path(wanted)):
            return len(Path(wanted).parts), Path(wanted)
        *folders, name = [part for part in re.split(r"[/\\]", wanted) if part not in ("", ".")] or [""]
        matches = []
        for path in self._by_name.get(_stem(name), []):
            parents = path.relative_to(self.folder).parts[:-1]
            num_shared = 0
            for ours, theirs in zip(reversed(parents), reversed(folders), strict=False):
                if ours != theirs:
                    break
                num_shared += 1
            if num_shared or not folders or folders[-1] not in self._folders:
                matches.append(((num_shared, path.name == name), path))
        if not matches:
            return None
        best = max(key for key, _ in matches)
        meant = [path for key, path in matches if key == best]
        if len(meant) > 1:
            raise UserError(
                f"{meant[0]} and {meant[1]} could both be the clip {wanted}.",
                "Expected one video, or one folder of frames, of each clip.",
                "Move one of them out of dataset.videos.",
            )
        return best[0], meant[0]


def unique_ids(paths: Iterable[Path], folder: Path) -> dict[Path, str]:
    """An id for each file: its name without suffix; where names repeat, with the folders below `folder`: walk__01.

    Raises UserError if two files still have one id.
    """
    files = list(dict.fromkeys(paths))
    repeated = {name for name, number in Counter(_stem(path.name) for path in files).items() if number > 1}
    taken: dict[str, Path] = {}
    for path in files:
        parts = [_stem(path.name)]
        if parts[0] in repeated:
            above = path.parent.relative_to(folder) if path.is_relative_to(folder) else Path(*path.parent.parts[1:])
            parts = [*above.parts, *parts]
        video_id = "__".join(parts)
        if taken.setdefault(video_id, path) != path:
            raise UserError(
                f"{taken[video_id]} and {path} would both have the id {video_id!r}.",
                "Expected file names that differ without their suffixes, or are in folders of different names.",
                "Rename one of them.",
            )
    return {path: video_id for video_id, path in taken.items()}


def is_bare_folder_of_frames(path: Path) -> bool:
    """Whether the path is a folder of frames without frames.json, which states their rate."""
    return path.is_dir() and not (path / FRAMES_FILE).is_file()


def frame_numbers(folder: Path) -> set[int]:
    """The numbers of the frames in a folder."""
    with os.scandir(folder) as entries:
        matches = (FRAME_NAME.fullmatch(entry.name) for entry in entries)
        return {int(match[1]) for match in matches if match}


def _is_clip(path: Path) -> bool:
    return is_folder_of_frames(path) or (path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())


def _is_frame(name: str) -> bool:
    return FRAME_NAME.fullmatch(name) is not None


def _stem(name: str) -> str:
    """The name without the suffix of a video; a folder's name may contain dots."""
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in VIDEO_SUFFIXES else name
