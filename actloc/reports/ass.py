"""Labels and a timeline to be drawn on a video, as subtitles in the ASS form, which libass renders.

Everything has its place in pixels of the picture; nothing moves when another label comes or goes.
"""

import functools
import itertools
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import ImageFont

from actloc.annotations.rows import Segment
from actloc.reports import text
from actloc.reports.timelines import NUM_COLOURS

FONT = Path(__file__).parent / "fonts" / "DejaVuSans.ttf"
"""Shipped, because many servers have no font at all. It has Latin, Greek, Cyrillic, Arabic and Hebrew letters; for
others, such as Chinese, libass takes a font of the system, if there is one, and draws boxes if there is none."""
_FAMILY = "DejaVu Sans"
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9")
"""Those of the pages, in their order (page.css)."""
_WHITE, _BLACK = "#ffffff", "#000000"
_EM = 2048 / 2384  # of a size in ASS, which is the height of a line in this font
_MEASURED_PX = 500
_SMALLEST_PX = 9
_MOST_ROWS = 6  # of the timeline
_EIGHTH = 8  # drawings have whole numbers, here of eighths of pixels
_AFTER_S = 60.0  # the last frames may be after the length that was measured
_SQUARE = "\u25a0"
_LEFT_TO_RIGHT = "\u200e"  # without width: keeps the score after a label in Hebrew or Arabic
_JOINER = "\u2060"  # without width: parts a backslash from a letter with which it would be a command


@dataclass(frozen=True)
class Look:
    """What the drawing depends on beside the segments."""

    width: int
    height: int
    duration_s: float
    colours: Mapping[str, int]
    """Number of the colour of each label."""
    slowed: int
    """How many times slower the clock of the subtitles is than that of the video."""

    @property
    def font_px(self) -> int:
        """Relative to the shorter side: a tall picture is narrow."""
        return min(max(_SMALLEST_PX, round(0.05 * min(self.width, self.height))), max(4, self.height // 4))

    @property
    def margin_px(self) -> int:
        """Between the edge of the picture and what is drawn, and around text."""
        return max(2, round(0.3 * self.font_px))

    @property
    def line_px(self) -> int:
        """From one label to the next."""
        return self.font_px + self.margin_px + max(1, self.margin_px // 2)

    @property
    def bar(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the timeline."""
        height, edge = max(6, round(0.9 * self.font_px)), self.margin_px
        return edge, self.height - edge - height, self.width - edge, self.height - edge

    @property
    def num_lines(self) -> int:
        """How many labels there is room for, one below the other."""
        return max(1, (self.bar[1] - 2 * self.margin_px) // self.line_px)


def overlay(segments: Sequence[Segment], look: Look) -> str:
    """The subtitles: each segment's label and score while it lasts, and a timeline with a moving mark at the bottom."""
    in_order = sorted(segments, key=lambda one: (one.start_s, one.end_s, one.label))
    places = _places(in_order)
    lines = [*_bar(in_order, places, look), *_labels(in_order, places, look), _mark(look)]
    return _HEAD.format(
        width=look.width,
        height=look.height,
        family=_FAMILY,
        size=look.font_px,
        border=max(1.0, look.font_px / 20),
        padding=max(1, look.margin_px // 2),
    ) + "".join(f"{line}\n" for line in lines)


_HEAD = """\
[Script Info]
ScriptType: v4.00+
PlayResX: {width}
PlayResY: {height}
WrapStyle: 2
ScaledBorderAndShadow: yes
YCbCr Matrix: None

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, OutlineColour, BackColour, BorderStyle, Outline, Shadow, Alignment, \
MarginL, MarginR, MarginV, Encoding
Style: label, {family}, {size}, &H00FFFFFF, &H00000000, &H60000000, 4, {border:.2f}, {padding}, 7, 0, 0, 0, 1
Style: shape, {family}, {size}, &H00FFFFFF, &H00000000, &H00000000, 1, {border:.2f}, 0, 7, 0, 0, 0, 1

[Events]
Format: Layer, Start, End, Style, Text
"""


def _places(segments: Sequence[Segment]) -> list[int]:
    """The line of each segment, sorted by start: the first one that is free, and it keeps it."""
    ends: list[float] = []
    places = []
    for one in segments:
        place = next((number for number, end_s in enumerate(ends) if end_s <= one.start_s), len(ends))
        ends[place : place + 1] = [one.end_s]
        places.append(place)
    return places


def _labels(segments: Sequence[Segment], places: Sequence[int], look: Look) -> list[str]:
    """Labels in the order of lines; where they are too many, the last line says how many more there are."""
    is_full = max(places, default=0) >= look.num_lines
    num_shown = look.num_lines - 1 if is_full else look.num_lines
    found = []
    for one, place in zip(segments, places, strict=True):
        if place < num_shown:
            square = f"{{\\1c{_colour(COLOURS[look.colours.get(one.label, 0)])}}}{_SQUARE}{{\\1c{_colour(_WHITE)}}}"
            shown = f"{square} {_fitting(one, look)}"
            found.append(_label(one.start_s, one.end_s, place, shown, look))
    rest = [one for one, place in zip(segments, places, strict=True) if place >= num_shown]
    times = sorted({time_s for one in rest for time_s in (one.start_s, one.end_s)})
    for start_s, end_s in itertools.pairwise(times):
        number = sum(one.start_s < end_s and one.end_s > start_s for one in rest)
        if number:
            found.append(_label(start_s, end_s, num_shown, f"+ {number} more", look))
    return found


def _label(start_s: float, end_s: float, place: int, shown: str, look: Look) -> str:
    top = look.margin_px + place * look.line_px
    return _event(2, start_s, end_s, "label", f"{{\\pos({2 * look.margin_px},{top})}}{shown}", look)


def _fitting(one: Segment, look: Look) -> str:
    """The label, escaped and with an ellipsis where it is too wide, and the score, which is never cut."""
    label = text.one_line(one.label)
    score = "" if one.score is None else f"{_LEFT_TO_RIGHT} {text.score(one.score)}"
    room_px = look.width - 5 * look.margin_px - _width_px(f"{_SQUARE} {score}", look.font_px)
    if _width_px(label, look.font_px) <= room_px:
        return escaped(label) + score
    while label and _width_px(f"{label}\u2026", look.font_px) > room_px:
        label = label[:-1].rstrip()
    return f"{escaped(label)}\u2026{score}"


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(FONT), _MEASURED_PX)  # large: widths of small letters are rounded, and libass's not


@functools.lru_cache(maxsize=4096)
def _letter_em(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":  # of another font, as wide as it is high
        return 1.0
    return 0.0 if unicodedata.combining(letter) else _font().getlength(letter) / _MEASURED_PX


def _width_px(shown: str, size_px: int) -> float:
    return size_px * _EM * sum(_letter_em(letter) for letter in shown)


def escaped(label: str) -> str:
    """Text that libass shows as it is: nothing in it starts a command or a line."""
    one = text.one_line(label).replace("\\", f"\\{_JOINER}")
    return one.replace("{", "\\{").replace("}", "\\}")


def _bar(segments: Sequence[Segment], places: Sequence[int], look: Look) -> list[str]:
    """The timeline: a dark band with each segment in the colour of its class, one drawing for each colour."""
    left, top, right, bottom = look.bar
    band = _shape(0, [(left, top, right, bottom)], _BLACK, "80", look, edge=_WHITE)
    num_rows = min(max(places, default=0) + 1, _MOST_ROWS, max(1, (bottom - top) // 3))
    row_px = (bottom - top) / num_rows
    shapes: dict[int, list[tuple[float, float, float, float]]] = {number: [] for number in range(NUM_COLOURS)}
    for one, place in zip(segments, places, strict=True):
        start, end = (_x(time_s, look) for time_s in (one.start_s, one.end_s))
        end = min(max(end, start + 2), right)
        start = min(start, end - 2)
        upper = top + min(place, num_rows - 1) * row_px
        shapes[look.colours.get(one.label, 0)].append((start, upper, end, upper + row_px))
    drawn = [_shape(1, shape, COLOURS[number], "00", look) for number, shape in shapes.items() if shape]
    return [band, *drawn]


def _x(time_s: float, look: Look) -> float:
    left, _, right, _ = look.bar
    share = time_s / look.duration_s if look.duration_s > 0 else 0.0
    return left + (right - left) * min(max(share, 0.0), 1.0)


def _shape(
    layer: int,
    boxes: Sequence[tuple[float, float, float, float]],
    colour: str,
    alpha: str,
    look: Look,
    edge: str = _BLACK,
) -> str:
    paths = []
    for left, top, right, bottom in boxes:
        corners = ((left, top), (right, top), (right, bottom), (left, bottom))
        points = [f"{round(x * _EIGHTH)} {round(y * _EIGHTH)}" for x, y in corners]
        paths.append(f"m {points[0]} l {' '.join(points[1:])}")
    style = f"\\pos(0,0)\\bord{max(0.5, look.font_px / 40):.2f}\\1c{_colour(colour)}\\1a&H{alpha}&\\3c{_colour(edge)}"
    content = f"{{{style}\\p4}}{' '.join(paths)}"
    return _event(layer, 0.0, look.duration_s + _AFTER_S, "shape", content, look)


def _mark(look: Look) -> str:
    """The mark that moves along the timeline."""
    left, top, right, bottom = look.bar
    half = max(0.5, look.font_px / 20)
    over = max(1, look.margin_px // 2)
    corners = ((-half, top - over), (half, top - over), (half, bottom + over), (-half, bottom + over))
    points = [f"{round(x * _EIGHTH)} {round(y * _EIGHTH)}" for x, y in corners]
    end = max(1, _ms(look.duration_s) * look.slowed)
    moving = f"\\move({left},0,{right},0,0,{end})\\bord{half:.2f}\\1c{_colour(_WHITE)}\\3c{_colour(_BLACK)}"
    path = f"m {points[0]} l {' '.join(points[1:])}"
    return _event(3, 0.0, look.duration_s + _AFTER_S, "shape", f"{{{moving}\\p4}}{path}", look)


def _colour(hexadecimal: str) -> str:
    """ASS has blue, green, red."""
    return f"&H{hexadecimal[5:7]}{hexadecimal[3:5]}{hexadecimal[1:3]}&".upper()


def _event(layer: int, start_s: float, end_s: float, style: str, content: str, look: Look) -> str:
    start, end = (_ms(time_s) * look.slowed for time_s in (start_s, end_s))
    return f"Dialogue: {layer},{_clock(start)},{_clock(max(end, start + look.slowed))},{style},{content}"


def _ms(time_s: float) -> int:
    return max(0, int(time_s * 1000 + 1e-4))


def _clock(ms: int) -> str:
    minutes, rest = divmod(ms // 10, 6000)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest // 100:02d}.{rest % 100:02d}"
