"""prepared.json: the digests of the annotations that `prepare` wrote, and of the files that it read."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ValidationError

from actloc import files

_NAME = "prepared.json"


class Prepared(BaseModel):
    """What prepared.json holds."""

    annotations_sha256: str
    """Of annotations.json as `prepare` wrote it: a file with another digest was changed by someone else."""
    sources: dict[str, str]
    """The sha256 of each file that the annotations come from, by its path as the settings gave it."""


def file_in(folder: Path) -> Path:
    """The file in a dataset's folder."""
    return folder / _NAME


def write(folder: Path, annotations_file: Path, sources: Iterable[Path]) -> None:
    """Writes prepared.json into a dataset's folder, unless it is the same already."""
    digests = {str(path): files.sha256_of_file(path) for path in sorted(sources)}
    prepared = Prepared(annotations_sha256=files.sha256_of_file(annotations_file), sources=digests)
    if read(folder) != prepared:
        files.write_json(file_in(folder), prepared.model_dump())


def read(folder: Path) -> Prepared | None:
    """What was recorded in a dataset's folder; None if nothing was, or if it cannot be understood."""
    try:
        return Prepared.model_validate_json(files.read_bytes(file_in(folder)))
    except (FileNotFoundError, ValidationError):
        return None


def changed_sources(folder: Path) -> list[Path]:
    """The files that were read and have changed since; those that are gone are not needed any more."""
    prepared = read(folder)
    recorded = prepared.sources.items() if prepared else ()
    return [Path(path) for path, digest in recorded if _is_file_with_another_digest(Path(path), digest)]


def _is_file_with_another_digest(path: Path, digest: str) -> bool:
    return path.is_file() and files.sha256_of_file(path) != digest
