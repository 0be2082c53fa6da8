"""Which video files `predict` made in a folder, of which video, and with what: an own record for each video.

The files are large, so they are known by name and size, not by their content.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from actloc import console, files
from actloc.errors import UserError

_RECORDS = ".actloc_videos"


@dataclass(frozen=True)
class Made:
    """The files made of one video, in the folder of the record."""

    id: str
    made_with: str
    """A digest of everything that shapes the files."""
    sizes: Mapping[str, int | None]
    """Bytes of each file, by name; None for one that is there once it is whole."""
    output: str = ""
    """The folder of the results, as the record's own folder names it."""
    rows: Sequence[Mapping[str, Any]] = field(default_factory=list)  # Any: JSON values
    """What an index says of the files."""


class MadeFiles:
    """The records in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._records = folder / _RECORDS

    def find(self, video_id: str) -> Made | None:
        """What was made of a video; None if nothing was, or if the record is damaged."""
        return _read(self._file(video_id))

    def all(self) -> list[Made]:
        """Every record, in the order of names."""
        found = sorted(self._records.glob("*.json")) if self._records.is_dir() else []
        return [made for made in map(_read, found) if made is not None]

    def write(self, made: Made) -> None:
        """Stores a record in place of an earlier one of the video."""
        files.write_json(self._file(made.id), asdict(made))

    def remove(self, made: Made, keep: Sequence[str] = ()) -> None:
        """Deletes the files of a record but those to keep, and the record; files that others changed stay."""
        for name, size in made.sizes.items():
            path = self.folder / name
            if name not in keep and path.is_file() and size in (None, path.stat().st_size):
                files.remove(path)
        files.remove(self._file(made.id))

    def is_done(self, video_id: str, made_with: str) -> bool:
        """Whether all files of a video are there, made with the same."""
        made = self.find(video_id)
        return made is not None and made.made_with == made_with and not self.missing(made)

    def missing(self, made: Made) -> list[str]:
        """The names of files that are not there as they were made."""
        paths = {name: self.folder / name for name in made.sizes}
        return [
            name
            for name, size in made.sizes.items()
            if not paths[name].is_file() or size not in (None, paths[name].stat().st_size)
        ]

    def refuse_others(
        self, names: Sequence[str], *, overwrite: bool, option: str, of: Sequence[Made] | None = None
    ) -> None:
        """Raises UserError if files of these names are there that no record, or none of `of`, has."""
        own = {name: size for made in (self.all() if of is None else of) for name, size in made.sizes.items()}
        others = []
        for name in names:
            path = self.folder / name
            if path.exists() and not path.is_file():
                raise UserError(f"{path} is not a file.", "Expected a file, or nothing there.", "Rename or move it.")
            is_own = name in own and path.is_file() and own[name] in (None, path.stat().st_size)
            if path.exists() and not is_own:
                others.append(path)
        if others and not overwrite:
            are, them = ("is", "it") if len(others) == 1 else ("are", "them")
            raise UserError(
                f"{console.first_ten(others)} {are} not as actloc wrote {them}.",
                "Expected no such file, or one that the same command wrote and nobody changed.",
                f"Replace {them} with --overwrite, or choose another {option}.",
            )

    def _file(self, video_id: str) -> Path:
        return self._records / f"{files.safe_name(video_id)}.json"


def without_made(videos: Sequence[Path]) -> list[Path]:
    """The files that were not made by `predict`: copies and clips are no videos to predict."""
    made: dict[Path, set[str]] = {}
    for folder in {path.parent for path in videos}:
        made[folder] = {name for one in MadeFiles(folder).all() for name in one.sizes}
    return [path for path in videos if path.name not in made[path.parent]]


def _read(file: Path) -> Made | None:
    """What a record holds; None if it is missing, damaged, or names files outside its folder."""
    try:
        made = Made(**json.loads(files.read_text(file)))
        is_whole = all(Path(name).name == name and isinstance(size, int | None) for name, size in made.sizes.items())
        is_whole = is_whole and isinstance(made.id, str) and file.name == f"{files.safe_name(made.id)}.json"
        return made if is_whole else None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, UserError):
        return None
