"""Reads XML of other programs element by element, so that memory does not grow with the file.

A document type declaration is refused: its entities can expand a few kilobytes to gigabytes, or name other files.
"""

import io
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO
from xml.etree import ElementTree
from xml.parsers import expat

from actloc.errors import UserError

_CHUNK = 1 << 16


class _Collector:
    """Builds the wanted elements; the root, and those of `opened`, are given as empty elements when they begin."""

    def __init__(self, wanted: Collection[str], opened: Collection[str]) -> None:
        self.wanted = wanted
        self.opened = opened
        self.finished: list[ElementTree.Element] = []
        self._builder: ElementTree.TreeBuilder | None = None
        self._depth = 0
        self._has_root = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._has_root or tag in self.opened:
            self._has_root = True
            self.finished.append(ElementTree.Element(tag, attributes))
        if self._builder is None and tag in self.wanted:
            self._builder = ElementTree.TreeBuilder()
        if self._builder is not None:
            self._builder.start(tag, attributes)
            self._depth += 1

    def end(self, tag: str) -> None:
        if self._builder is None:
            return
        self._builder.end(tag)
        self._depth -= 1
        if not self._depth:
            self.finished.append(self._builder.close())
            self._builder = None

    def text(self, data: str) -> None:
        if self._builder is not None:
            self._builder.data(data)


class _DoctypeError(Exception):
    pass


def _refuse_doctype(*_: object) -> None:
    raise _DoctypeError


def elements(
    stream: IO[bytes], path: Path, wanted: Collection[str], opened: Collection[str] = ()
) -> Iterator[ElementTree.Element]:
    """The root, without what is in it, then every element with a tag of `wanted`, as soon as it is complete.

    Elements within a wanted one come with it, not again. Those of `opened` come when they begin, without what is in
    them. Raises UserError for what is not well-formed XML.
    """
    collector = _Collector(wanted, opened)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = collector.start
    parser.EndElementHandler = collector.end
    parser.CharacterDataHandler = collector.text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    is_last = False
    while not is_last:
        chunk = stream.read(_CHUNK)
        is_last = not chunk
        try:
            parser.Parse(chunk, is_last)
        except _DoctypeError as error:
            raise UserError(
                f"{path}:{parser.CurrentLineNumber}: it has a document type declaration (<!DOCTYPE).",
                "Expected XML without one, as annotation tools write it: entities in it could expand without end.",
                "Delete the declaration, or export the file again.",
            ) from error
        except (expat.ExpatError, ValueError) as error:
            raise UserError(
                f"{path} is not well-formed XML: {error}.",
                "Expected a whole file, as an annotation tool writes it.",
                "Export it again.",
            ) from error
        yield from collector.finished
        collector.finished.clear()


def to_text(root: ElementTree.Element) -> str:
    """The element as an indented XML document in UTF-8."""
    ElementTree.indent(root, " ")
    stream = io.BytesIO()
    ElementTree.ElementTree(root).write(stream, encoding="utf-8", xml_declaration=True)
    return stream.getvalue().decode("utf-8") + "\n"
