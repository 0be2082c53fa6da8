"""Draws where a network looked: its pictures under a heat map, as a GIF or MP4 and as a contact sheet with a curve."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from actloc import files
from actloc.errors import UserError

SUFFIXES = (".gif", ".mp4")
_HEAT_SHARE = 0.5  # of the heat map's colour in the overlay; the rest is the picture
_MAGMA = (  # every 17th colour of matplotlib's map of this name, from 0 to 1; in between they are interpolated
    "000004 0b0924 20114b 3b0f70 57157e 721f81 8c2981 a8327d c43c75 de4968 f1605d fa7f5e fe9f6d febf84 fddea0 fcfdbf"
)
_COLUMNS, _ROWS = 4, 3
_THUMBNAIL, _GAP, _TEXT, _TITLE, _CURVE = 224, 8, 18, 30, 110  # pixels of the contact sheet
_DARK, _LIGHT, _GREY, _INSIDE = "#101014", "#f4f4f6", "#8a8a94", "#fe9f6d"


@dataclass(frozen=True)
class Saliency:
    """A curve over time: the heat of whole pictures before it was scaled, at `times_s` (M,), rising."""

    times_s: NDArray[np.float64]
    values: NDArray[np.float64]

    @property
    def peak_s(self) -> float:
        """The time of the highest value."""
        return float(self.times_s[self.values.argmax()])


@dataclass(frozen=True)
class Explanation:
    """What speaks for a label, in N pictures of a video that the network saw."""

    label: str
    score: float
    score_name: str
    """What the score is: `score`, `probability`, or the detector's `evidence` for a segment that it did not find."""
    layer: str
    """The layer whose map it is."""
    segment_s: tuple[float, float] | None
    """The segment that is explained; None for a whole clip."""
    pictures: NDArray[np.uint8]
    """(N, H, W, 3)."""
    heat: NDArray[np.float32]
    """(N, H, W), 0 to 1."""
    times_s: NDArray[np.float64]
    """(N,): when the pictures are."""
    curves: tuple[Saliency, ...]
    """Of all that the network saw: one curve, or one for each view."""

    @property
    def title(self) -> str:
        """The label, the segment and the score."""
        where = "" if self.segment_s is None else ", {:.2f} s to {:.2f} s".format(*self.segment_s)
        return f"{self.label}{where}, {self.score_name} {self.score:.3g}"

    @property
    def peak_s(self) -> float:
        """When the highest curve has its highest value."""
        return max(self.curves, key=lambda one: one.values.max()).peak_s

    @property
    def is_blank(self) -> bool:
        """Whether nothing speaks for the label at this layer."""
        return not any(curve.values.any() for curve in self.curves)


def check_file(path: Path) -> None:
    """Raises UserError for a file that is neither GIF nor MP4."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"{path} has the suffix {path.suffix!r}." if path.suffix else f"{path} has no suffix.",
            f"Expected one of {', '.join(SUFFIXES)}: it says what kind of file to write.",
            f"Write it to {path.with_suffix('.gif')}; the contact sheet is a PNG next to it.",
        )


def write(explanation: Explanation, path: Path, fps: float) -> Path:
    """Writes the pictures to a GIF or MP4 of `fps` frames per second; returns the contact sheet beside it, a PNG."""
    check_file(path)
    frames = overlay(explanation.pictures, explanation.heat)
    files.write_bytes(path, _gif(frames, fps) if path.suffix.lower() == ".gif" else _mp4(frames, fps))
    sheet = path.with_suffix(".png")
    drawn = io.BytesIO()
    contact_sheet(explanation, frames).save(drawn, "png")
    files.write_bytes(sheet, drawn.getvalue())
    return sheet


def magma(heat: NDArray[Any]) -> NDArray[np.float64]:
    """Colours (..., 3), 0 to 255, of numbers between 0 and 1: from black over purple and orange to pale yellow."""
    colours = np.array([list(bytes.fromhex(colour)) for colour in _MAGMA.split()])
    places = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(heat, places, channel) for channel in colours.T], axis=-1)


def overlay(pictures: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Pictures (N, H, W, 3) half covered by the colours of heat (N, H, W)."""
    pairs = zip(pictures, heat, strict=True)
    mixed = [_HEAT_SHARE * magma(one) + (1 - _HEAT_SHARE) * picture for picture, one in pairs]
    return np.stack(mixed).round().astype(np.uint8)


def _gif(frames: NDArray[np.uint8], fps: float) -> bytes:
    first, *others = [Image.fromarray(frame) for frame in frames]
    written = io.BytesIO()
    first.save(written, "gif", save_all=True, append_images=others, duration=1000 / fps, loop=0)
    return written.getvalue()


def _mp4(frames: NDArray[np.uint8], fps: float) -> bytes:
    """H.264; the last row or column is repeated where a side is odd, which the format cannot store."""
    height, width = frames.shape[1:3]
    even = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    written = io.BytesIO()
    with av.open(written, "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width = even.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in even:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))
    return written.getvalue()


def contact_sheet(explanation: Explanation, frames: NDArray[np.uint8]) -> Image.Image:
    """Frames (N, H, W, 3) evenly spread over those of the explanation, with their times, and the curve below."""
    shown = np.unique(np.linspace(0, len(frames) - 1, min(_COLUMNS * _ROWS, len(frames))).round().astype(int))
    height = round(_THUMBNAIL * frames.shape[1] / frames.shape[2])
    columns, rows = min(_COLUMNS, len(shown)), -(-len(shown) // _COLUMNS)
    width = _COLUMNS * (_THUMBNAIL + _GAP) + _GAP  # also for few pictures, so that title and curve have room
    top = _TITLE + _TEXT
    under = top + rows * (height + _TEXT + _GAP)
    sheet = Image.new("RGB", (width, under + _CURVE + 2 * _TEXT + _GAP), _DARK)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 6), explanation.title, _LIGHT, font=_font(18))
    draw.text((_GAP, _TITLE), f"layer {explanation.layer}", _GREY, font=_font(12))
    for number, place in enumerate(shown):
        row, column = divmod(number, columns)
        x, y = _GAP + column * (_THUMBNAIL + _GAP), top + row * (height + _TEXT + _GAP)
        thumbnail = Image.fromarray(frames[place]).resize((_THUMBNAIL, height), Image.Resampling.BICUBIC)
        sheet.paste(thumbnail, (x, y))
        time_s = float(explanation.times_s[place])
        start_s, end_s = explanation.segment_s or (time_s, time_s)
        colour = _INSIDE if start_s <= time_s <= end_s else _GREY
        draw.rectangle((x, y, x + _THUMBNAIL - 1, y + height - 1), outline=colour, width=2)
        draw.text((x, y + height + 2), f"{time_s:.2f} s", colour, font=_font(12))
    _draw_curves(draw, explanation, (_GAP, under, width - _GAP, under + _CURVE))
    return sheet


def _draw_curves(draw: ImageDraw.ImageDraw, explanation: Explanation, box: tuple[int, int, int, int]) -> None:
    """The heat of whole pictures over time, with the segment and the peak marked."""
    left, top, right, bottom = box
    times = np.concatenate([curve.times_s for curve in explanation.curves])
    highest = max(float(curve.values.max()) for curve in explanation.curves) or 1.0
    first, span = float(times.min()), float(np.ptp(times)) or 1.0

    def across(time_s: float) -> float:
        return left + (right - left) * min(max((time_s - first) / span, 0.0), 1.0)

    draw.rectangle(box, outline=_GREY)
    if explanation.segment_s is not None:
        start, end = (across(time_s) for time_s in explanation.segment_s)
        draw.rectangle((start, top, end, bottom), fill="#33262a", outline=_INSIDE)
    for curve in explanation.curves:
        heights = bottom - (bottom - top - 4) * curve.values / highest
        points = [(across(time_s), float(y)) for time_s, y in zip(curve.times_s, heights, strict=True)]
        draw.line(points if len(points) > 1 else points * 2, fill=_LIGHT, width=2)
    texts: Sequence[tuple[str, float, str]] = (
        (f"{first:.2f} s", left, "la"),
        (f"{first + span:.2f} s", right, "ra"),
    )
    for text, x, anchor in texts:
        draw.text((x, bottom + 3), text, _GREY, font=_font(12), anchor=anchor)
    peak = f"heat of the whole picture; most at {explanation.peak_s:.2f} s"
    draw.text(((left + right) / 2, bottom + 3), peak, _LIGHT, font=_font(12), anchor="ma")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
