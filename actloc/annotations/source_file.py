"""A file of annotations of a form that is not known yet: its content as bytes, text, JSON or XML, each read once."""

import functools
import gzip
import json
import zlib
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast
from xml.etree import ElementTree

from actloc import files
from actloc.annotations import xml_elements
from actloc.annotations.tables import SPREADSHEET_BYTES, decoded, encoding_of
from actloc.annotations.video_names import without_suffix
from actloc.errors import UserError

_HEAD = 1 << 16
_MOST_BYTES = 512 * 2**20
_GZIP = b"\x1f\x8b"


class SourceFile:
    """A file, with what its first bytes show. XML is read element by element, everything else as a whole."""

    def __init__(self, path: Path) -> None:
        """Raises what opening the file raises, and UserError for a pipe or a device."""
        files.check_regular(path)
        self.path = path
        with path.open("rb") as stream:
            self._is_packed = stream.read(2) == _GZIP
        with self._open() as stream:
            self._start = _read(stream, _HEAD, path)

    def _open(self) -> IO[bytes]:
        if self._is_packed:
            return cast(IO[bytes], gzip.open(self.path))
        return self.path.open("rb")

    @property
    def video(self) -> str:
        """The video that the file's name means, for forms that do not name it."""
        name = self.path.name
        stem = Path(name.removesuffix(".gz")).stem if self._is_packed else self.path.stem
        return without_suffix(stem)

    @functools.cached_property
    def head(self) -> str:
        """The first 64 kB as text; bytes that are no text are replaced."""
        text = self._start.decode(encoding_of(self._start), "replace").removeprefix("\ufeff")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    @property
    def is_xml(self) -> bool:
        """Whether it begins as XML does."""
        return self.head.lstrip().startswith("<")

    @property
    def is_json(self) -> bool:
        """Whether it begins as a JSON object or list does."""
        return self.head.lstrip().startswith(("{", "["))

    @property
    def is_archive(self) -> bool:
        """Whether it is a zip archive, as spreadsheets and some exports are, or an older spreadsheet."""
        return self._start.startswith(SPREADSHEET_BYTES)

    @functools.cached_property
    def content(self) -> bytes:
        """All bytes, unpacked; raises UserError above 512 MB."""
        with self._open() as stream:
            content = _read(stream, _MOST_BYTES + 1, self.path)
        if len(content) > _MOST_BYTES:
            size = self.path.stat().st_size / 2**20
            unpacked = ", packed" if self._is_packed else ""
            raise UserError(
                f"{self.path} has {size:.0f} MB{unpacked}.",
                f"Expected at most {_MOST_BYTES // 2**20} MB: it is read into memory as a whole.",
                "Export the videos in several files and name their folder.",
            )
        return content

    @functools.cached_property
    def text(self) -> str:
        """All text, with newlines as line ends; raises UserError for what is no text."""
        return decoded(self.path, self.content)

    @functools.cached_property
    def json(self) -> Any:  # Any: whatever the file holds
        """The value of a JSON file, odd numbers kept; None if it does not begin as JSON; raises UserError if broken."""
        if not self.is_json:
            return None
        try:
            text = self.content.decode(json.detect_encoding(self.content))
            return files.parse_json(text, keep_odd_numbers=True)
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{self.path} is not valid JSON: {error}.", "Expected a JSON file.", "Fix or replace it."
            ) from error

    @functools.cached_property
    def root(self) -> ElementTree.Element | None:
        """The root of XML with its attributes; None if it does not begin as XML."""
        return next(self.elements(()), None) if self.is_xml else None

    def elements(self, wanted: Collection[str], opened: Collection[str] = ()) -> Iterator[ElementTree.Element]:
        """As `xml_elements.elements`."""
        with self._open() as stream:
            yield from xml_elements.elements(stream, self.path, wanted, opened)

    def first_of(self, tags: Collection[str]) -> str:
        """The tag of the first element below the root that has one of the tags; empty if none has."""
        found = islice(self.elements(tags), 1, 2)
        return next((element.tag for element in found), "")


def _read(stream: IO[bytes], most: int, path: Path) -> bytes:
    try:
        with files.naming(path):
            return stream.read(most)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"{path} cannot be unpacked: {error}.", "Expected a whole file.", "Copy or export it again."
        ) from error
