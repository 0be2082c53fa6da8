"""Praat's TextGrid, long or short: tiers of intervals, where an empty text is a gap, and tiers of points."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from actloc.annotation_forms.base import FormConfig
from actloc.annotations.reading import Reading
from actloc.annotations.rows import Listed, Row, Segment, WrittenVideo, without_overlaps
from actloc.annotations.source_file import SourceFile
from actloc.annotations.tiers import own_tier
from actloc.errors import UserError

_TOKEN = re.compile(r'"((?:[^"]|"")*)"|(![^\n]*)|(<\w+>)|([^\s"]+)')
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")


class Config(FormConfig):
    """The video is that of the file's name; the tiers that are read are chosen by `tiers`."""

    title: ClassVar[str] = "a TextGrid of Praat"
    suffix: ClassVar[str] = ".TextGrid"
    has_file_per_video: ClassVar[bool] = True

    def recognises(self, file: SourceFile) -> bool:
        """By the first lines."""
        return "ooTextFile" in file.head[:200] and '"TextGrid"' in file.head[:400]

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """Numbers and quoted texts alone carry meaning: the long form only has words between them."""
        listed, values = Listed(), _values(file.text)
        try:
            if next(values) == "ooTextFile":
                next(values)
            _number(next(values))
            listed.ends_s[file.video] = _number(next(values))
            for _ in range(int(_number(next(values)))):
                _read_tier(values, file, listed)
        except (StopIteration, ValueError, OverflowError) as error:
            raise UserError(
                f"{file.path} is not a whole TextGrid{f': {error}' if str(error) else ''}.",
                "Expected tiers of intervals or points, as Praat writes them as text, long or short.",
                "Save it again in Praat: Save as text file.",
            ) from error
        return listed

    def write(self, videos: Sequence[WrittenVideo], target: Path) -> dict[Path, str]:
        """One video, in the long form; segments that overlap are on further tiers."""
        (video,) = videos
        tracks = without_overlaps(video.in_ms) or [[]]
        last_ms = max([track[-1][1] for track in tracks if track], default=1)
        end_ms = max(last_ms, round((video.duration_s or 0) * 1000))
        lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', ""]
        lines += ["xmin = 0", f"xmax = {end_ms / 1000:.3f}", "tiers? <exists>", f"size = {len(tracks)}", "item []:"]
        for number, track in enumerate(tracks, 1):
            intervals = list(_with_gaps(track, end_ms))
            lines += [
                f"    item [{number}]:",
                '        class = "IntervalTier"',
                f"        name = {_quoted(own_tier(number - 1))}",
                "        xmin = 0",
                f"        xmax = {end_ms / 1000:.3f}",
                f"        intervals: size = {len(intervals)}",
            ]
            for place, (from_ms, to_ms, label) in enumerate(intervals, 1):
                lines += [
                    f"        intervals [{place}]:",
                    f"            xmin = {from_ms / 1000:.3f}",
                    f"            xmax = {to_ms / 1000:.3f}",
                    f"            text = {_quoted(label)}",
                ]
        return {target: "\n".join(lines) + "\n"}


def _values(text: str) -> Iterator[str | float]:
    """The quoted texts and the numbers that no other character touches, in their order."""
    for quoted, comment, flag, word in _TOKEN.findall(text):
        if not comment and not flag and not word:
            yield quoted.replace('""', '"')
        elif word and _NUMBER.fullmatch(word):
            yield float(word)


def _number(value: str | float) -> float:
    if isinstance(value, str):
        raise ValueError(f"found {value!r:.40} where a number is expected")
    return value


def _read_tier(values: Iterator[str | float], file: SourceFile, listed: Listed) -> None:
    kind, name = str(next(values)), str(next(values))
    if kind not in ("IntervalTier", "TextTier"):
        raise ValueError(f"found {kind!r:.40} where a tier begins")
    _number(next(values))
    _number(next(values))
    for number in range(1, int(_number(next(values))) + 1):
        start_s = _number(next(values))
        end_s = _number(next(values)) if kind == "IntervalTier" else start_s
        text = str(next(values)).strip()
        where = f"{file.path}: {name}, {'interval' if kind == 'IntervalTier' else 'point'} {number}"
        is_point = kind == "TextTier"
        if text or is_point:
            why = "" if text else "it has no label"
            listed.rows.append(Row(file.video, start_s, end_s, text, where, tier=name, is_point=is_point, unusable=why))


def _with_gaps(track: list[tuple[int, int, Segment]], end_ms: int) -> Iterator[tuple[int, int, str]]:
    at_ms = 0
    for start_ms, to_ms, one in track:
        if start_ms > at_ms:
            yield at_ms, start_ms, ""
        yield start_ms, to_ms, one.label
        at_ms = to_ms
    if at_ms < end_ms:
        yield at_ms, end_ms, ""


def _quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'
