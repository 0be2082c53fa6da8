"""Finds recordings that were joined into one file byte after byte, of which every decoder reads the first only.

Decoders say nothing of the rest: of 2 and 4 seconds they give 2 and succeed. Only the outermost structure is read:
boxes of MP4, elements of Matroska, objects of ASF and tags of FLV; what is damaged is left to the decoder.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from actloc.errors import VideoError

_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
_EBML_HEADER, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")


def check(path: Path) -> None:
    """Raises VideoError `unsupported` for a file of several recordings."""
    number = 0
    with suppress(OSError), path.open("rb") as stream:  # the decoder says what is wrong with the file
        walk = _walk_for(stream.read(16))
        if walk is not None:
            number = sum(1 for _ in walk(stream, path.stat().st_size))
    if number > 1:
        raise VideoError(
            "unsupported",
            f"{number} recordings were joined into one file byte after byte, of which decoders read the first; join "
            "the originals anew: ffmpeg -f concat -i LIST.txt -c copy NEW.mp4",
            "one recording",
            f"{number} recordings",
        )


def _walk_for(start: bytes) -> Callable[[BinaryIO, int], Iterator[int]] | None:
    """What yields the place of each recording in files that begin like this; None for other formats."""
    if start[4:8] in _MP4_BOXES:
        return _mp4
    if start.startswith(_EBML_HEADER):
        return _matroska
    if start.startswith(_ASF_HEADER):
        return _asf
    return _flv if start.startswith(b"FLV\x01") else None


def _mp4(stream: BinaryIO, size: int) -> Iterator[int]:
    """Each index: fragments follow one."""
    position = 0
    while position + 8 <= size:
        stream.seek(position)
        head = stream.read(16)
        length = int.from_bytes(head[:4], "big")
        if head[4:8] == b"moov":
            yield position
        if length == 1:  # the length follows in 8 bytes
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # 0: up to the end of the file
            return
        position += length


def _matroska(stream: BinaryIO, size: int) -> Iterator[int]:
    """Each header; a segment of unknown length reaches to the end as far as this can tell."""
    position = 0
    while position + 5 <= size:
        stream.seek(position)
        head = stream.read(12)
        if head[:4] == _EBML_HEADER:
            yield position
        elif head[:4] != _SEGMENT:
            return
        width = 9 - head[4].bit_length()
        if width > 8:
            return
        length = int.from_bytes(head[4 : 4 + width], "big") & ((1 << 7 * width) - 1)
        if length == (1 << 7 * width) - 1:
            return
        position += 4 + width + length


def _asf(stream: BinaryIO, size: int) -> Iterator[int]:
    """Each header object."""
    position = 0
    while position + 24 <= size:
        stream.seek(position)
        head = stream.read(24)
        if head[:16] == _ASF_HEADER:
            yield position
        length = int.from_bytes(head[16:], "little")
        if length < 24:
            return
        position += length


def _flv(stream: BinaryIO, size: int) -> Iterator[int]:
    """Each header."""
    position = 0
    while position + 9 <= size:
        stream.seek(position)
        head = stream.read(9)
        if head[:4] == b"FLV\x01":
            yield position
            position += int.from_bytes(head[5:9], "big") + 4
        elif head[0] & 0x1F in (8, 9, 18):  # sound, video, facts
            position += 11 + int.from_bytes(head[1:4], "big") + 4
        else:
            return
