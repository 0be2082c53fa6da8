"""Files that a command writes where the user's own are too: it replaces none that it did not write.

A hidden list in the folder has the sha256 of each file that actloc wrote there. A file that is not on the list, or that
was changed since, belongs to the user.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actloc import console, files
from actloc.errors import UserError

_LIST = ".actloc_outputs.json"


def refuse_others(paths: Sequence[Path], *, overwrite: bool = False, fix: str = "") -> None:
    """Raises UserError if writing `paths`, all in one folder, would replace others' files; call it before the work.

    `fix` says what to do instead; by default, that --overwrite replaces them. Pipes and devices are never replaced.
    """
    folder = paths[0].parent
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file.", "Expected a folder to write into.", "Choose another folder.")
    listed = _listed(folder)
    others = [path for path in paths if _is_there(path) and not (overwrite or _is_ours(path, listed))]
    if others:
        are, them = ("is", "it") if len(others) == 1 else ("are", "them")
        raise UserError(
            f"{console.first_ten(others)} {are} not as actloc wrote {them}.",
            "Expected no such file, or one that the same command wrote and nobody changed.",
            fix or f"Replace {them} with --overwrite, or choose another --output.",
        )


@contextmanager
def recording(paths: Sequence[Path]) -> Iterator[None]:
    """The block writes `paths`, all in one folder, which are then on the folder's list."""
    folder, names = paths[0].parent, [path.name for path in paths]
    _write(folder, {**_listed(folder), **dict.fromkeys(names, "")})  # what a killed command wrote is on it too
    try:
        yield
    finally:
        made = {path.name: files.sha256_of_file(path) for path in paths if path.is_file()}
        _write(folder, {**{name: sha256 for name, sha256 in _listed(folder).items() if name not in names}, **made})


def ours(folder: Path, belongs: Callable[[str], bool]) -> list[Path]:
    """The files on the folder's list that are as actloc wrote them, and whose names belong."""
    listed = _listed(folder)
    paths = [folder / name for name in listed if belongs(name) and Path(name).name == name]
    return [path for path in paths if path.is_file() and not path.is_symlink() and _is_ours(path, listed)]


def remove_ours(folder: Path, belongs: Callable[[str], bool]) -> None:
    """Deletes the files that `ours` lists; one that somebody changed stays."""
    removed = ours(folder, belongs)
    for path in removed:
        files.remove(path)
    if removed:
        names = {path.name for path in removed}
        _write(folder, {name: sha256 for name, sha256 in _listed(folder).items() if name not in names})


def _is_there(path: Path) -> bool:
    """Whether there is something that a rename would replace; raises UserError for what is no file."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a file.", "Expected a file, or nothing there.", "Choose another name.")
    return path.exists() or path.is_symlink()


def _is_ours(path: Path, listed: dict[str, str]) -> bool:
    sha256 = listed.get(path.name)
    return sha256 is not None and (not sha256 or (path.is_file() and files.sha256_of_file(path) == sha256))


def _listed(folder: Path) -> dict[str, str]:
    """The sha256 of each file by its name; empty for one that a killed command may have written."""
    try:
        content: Any = files.read_json(folder / _LIST)  # Any: whatever it holds
    except UserError:
        return {}
    found = content if isinstance(content, dict) else {}
    return {name: sha256 for name, sha256 in found.items() if isinstance(sha256, str)}


def _write(folder: Path, listed: dict[str, str]) -> None:
    files.write_json(folder / _LIST, dict(sorted(listed.items())))
