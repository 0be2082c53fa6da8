"""`python -m actloc.video.decode`: the process that decodes one video, so that a crash affects no other.

A JSON request arrives on stdin, which then stays open as long as the parent lives. Requests for the facts of headers
may follow each other; the answer to any other is the last. Messages are written to stdout (channel.py); P is followed
by others, X, B and C end the answer, and so do E and V.

S  JSON: shape, dtype, picking of what follows       F  one frame, to be shown `count` times
E  JSON: the summary                                 V  JSON: the facts of a header or of packets
L  JSON: a line about a live source's connection
"""

import importlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, Self, TypeVar

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from actloc.damage import is_ours
from actloc.errors import EnvironmentProblem, VideoError
from actloc.video import step_messages
from actloc.video.base import LONGEST_S, Span
from actloc.video.channel import Channel, open_channel, received_requests, reporting
from actloc.video.frame_transforms import FrameStep, Resize, Shown
from actloc.video.readers.base import DecodingStats, Picture
from actloc.video.windows import Picking

Result = TypeVar("Result")
_FALLBACK = "ffmpeg"
_MATRIX_BYTES = 9 * 4


def serve(request: dict[str, Any], channel: Channel) -> None:  # Any: JSON values
    """Answers one request: facts of a header or of packets, or all frames of a video."""
    if request["task"] == "live":
        _answer_live(request, channel)
        return
    path = Path(request["path"])
    if request.get("hangs"):
        threading.Event().wait()  # an injected fault: a decoder that never answers
    reader = reader_of(path, request["reader"])
    with_fallback(reader, lambda which: _answer(request, path, which, channel), lambda: channel.has_begun)


def reader_of(path: Path, wanted: str) -> str:
    """The name of the reader's module; a folder has its own."""
    return "images" if path.is_dir() else wanted


def with_fallback(reader: str, read: Callable[[str], Result], has_begun: Callable[[], bool]) -> Result:
    """`read(reader)`, or `read("ffmpeg")` where pyav cannot open the file and no picture was decoded yet.

    Pictures of two readers are never mixed in one video. The second error replaces the first if it got further, and is
    otherwise added to it.
    """
    try:
        return read(reader)
    except VideoError as error:
        if reader != "pyav" or error.reason != "unreadable" or has_begun():
            raise
        first = error
    try:
        return read(_FALLBACK)
    except VideoError as second:
        if second.reason != "unreadable":
            raise
        also = f"{_FALLBACK}: {second.detail}"
    except EnvironmentProblem as missing:
        also = f"not tried with {_FALLBACK}: {missing.found}"
    raise VideoError(first.reason, f"{first.detail}; {also}", first.expected, first.found)


@contextmanager
def files_fault() -> Iterator[None]:
    """Turns errors that a file causes in the library reading it into VideoError; any other error is a bug in actloc."""
    try:
        yield
    except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
        if isinstance(error, BrokenPipeError) and not isinstance(error, av.FFmpegError):
            raise  # the parent has closed the pipe
        if not isinstance(error, av.FFmpegError | OSError | MemoryError) and is_ours(error):
            raise
        raise VideoError("unreadable", f"{type(error).__name__}: {error}") from error


def _answer(request: dict[str, Any], path: Path, reader: str, channel: Channel) -> None:
    module = importlib.import_module(f"actloc.video.readers.{reader}")
    request = {**request, "reader": reader}
    if request["task"] == "facts":
        with files_fault():
            facts = module.facts(path)
        channel.send_json(b"V", **asdict(facts))
        return
    if request["task"] in ("survey", "playback"):
        if reader != "pyav":
            raise VideoError("unreadable", f"PyAV cannot open it; {reader} is used to read it")
        with files_fault():
            module = importlib.import_module(f"actloc.video.{request['task']}")
            found = getattr(module, request["task"])(path)
        channel.send_json(b"V", **asdict(found))
        return
    stats = DecodingStats()
    fps, decode_fps = rates(module, path, request["fps"], request["decode_fps"], channel.report_progress)
    span = Span.from_json(request.get("span"))
    decoded = _watched(module.pictures(path, stats), channel)
    _send_video(request, decoded if span is None else within(decoded, stats, span), stats, (fps, decode_fps), channel)


def _answer_live(request: dict[str, Any], channel: Channel) -> None:  # Any: JSON values
    from actloc.video.live import LiveSource
    from actloc.video.readers import live

    stats, source = DecodingStats(), LiveSource.from_json(request["source"])
    rates = _exact(request["fps"], None), _exact(request["decode_fps"] or request["fps"], None)

    def say(line: str) -> None:
        channel.send_json(b"L", line=line)

    decoded = _watched(live.pictures(source, stats, say, channel.report_progress), channel)
    _send_video({**request, "reader": "pyav"}, decoded, stats, rates, channel)


def _send_video(
    request: dict[str, Any],  # Any: JSON values
    decoded: Iterator[Picture],
    stats: DecodingStats,
    rates: tuple[Fraction, Fraction],
    channel: Channel,
) -> None:
    fps, decode_fps = rates
    pictures = resampled(decoded, stats, decode_fps)
    picking = Picking(float(decode_fps), float(fps))
    is_whole = picking.step.is_integer()
    if is_whole:
        pictures = every(int(picking.step), pictures)
    steps = step_messages.from_json(request["steps"])
    num_frames = send_frames(pictures, steps, channel, None if is_whole else picking)
    channel.send_json(
        b"E",
        frames_decoded=stats.frames,
        corrupt_frames=stats.corrupt_frames,
        num_frames=num_frames,
        fps=float(fps),
        duration_s=float(stats.end_s),
        width=stats.width,
        height=stats.height,
        reader=request["reader"],
    )


def rates(
    reader: ModuleType,
    path: Path,
    fps: float | str,
    decode_fps: float | str | None,
    report_progress: Callable[[], None],
) -> tuple[Fraction, Fraction]:
    """`fps` and `decode_fps` of a video as exact fractions; its own rate where they are native."""
    own_rate = None
    if "native" in (fps, decode_fps):
        with files_fault():
            own_rate = reader.rate(path, report_progress)
    return _exact(fps, own_rate), _exact(decode_fps or fps, own_rate)


def _exact(fps: float | str, own_rate: Fraction | None) -> Fraction:
    """Frames per second as a fraction, as precise as ffmpeg's own rates."""
    rate = own_rate if fps == "native" else Fraction(fps)
    if not rate:
        raise VideoError("unsupported", "the video does not state its frame rate", "frames per second", "none")
    return rate.limit_denominator(1_001_000)


def send_frames(
    pictures: Iterator[tuple[Picture, int]], steps: list[FrameStep], channel: Channel, picking: Picking | None = None
) -> int:
    """Sends the pictures after the steps; returns the number of frames, counted in places if clips pick their own."""
    total = 0
    for frame, count in after_steps(_decoded(pictures), steps):
        content = np.ascontiguousarray(frame)
        if total == 0:
            sent = None if picking is None else asdict(picking)
            channel.send_json(b"S", shape=content.shape, dtype=content.dtype.name, picking=sent)
        channel.send(b"F", content.data.cast("B"), count)
        total += count
    return total if picking is None else picking.num_places(total)


def _watched(pictures: Iterator[Picture], channel: Channel) -> Iterator[Picture]:
    with files_fault():  # only the reader's errors: the consumer of the pictures raises outside this block
        for picture in pictures:
            channel.report_progress()
            yield picture


def within(pictures: Iterator[Picture], stats: DecodingStats, span: Span) -> Iterator[Picture]:
    """The pictures up to the end of a part of the video, at times in this part: negative before it.

    What follows is not decoded. At the end, `stats.end_s` is the length of the part.
    """
    for picture in pictures:
        if span.cuts(picture.time_s):
            break
        yield Picture(span.after_start(picture.time_s), picture.frame)
    stats.end_s = span.length(stats.end_s)


def resampled(pictures: Iterator[Picture], stats: DecodingStats, fps: Fraction) -> Iterator[tuple[Picture, int]]:
    """Pictures and how often each is shown at `fps`, like ffmpeg's filter `fps` with `round=near`.

    Output frame k is the last picture whose time, times fps and rounded, is at most k; the last picture is shown
    until its own end.
    """
    shown, waiting = 0, None
    for picture in pictures:
        number = frame_number(picture.time_s, fps)
        if waiting is not None and number > shown:
            yield waiting, number - shown
            shown = number
        waiting = picture
    end = frame_number(stats.end_s, fps)
    if waiting is not None and end > shown:
        yield waiting, end - shown


def every(step: int, shown: Iterator[tuple[Picture, int]]) -> Iterator[tuple[Picture, int]]:
    """Every `step`-th frame, where each picture counts as many frames as it is shown."""
    before = 0
    for picture, count in shown:
        after = before + count
        picked = -(-after // step) - -(-before // step)
        if picked:
            yield picture, picked
        before = after


def frame_number(time_s: Fraction, fps: Fraction) -> int:
    """The first frame at `fps` that may show a picture of this time; VideoError `unsupported` beyond 48 hours."""
    if time_s > LONGEST_S:
        expected = f"at most {LONGEST_S} s"
        raise VideoError("unsupported", "a timestamp is implausible", expected, f"{float(time_s):g} s")
    number = time_s * fps
    return (2 * number.numerator + number.denominator) // (2 * number.denominator)  # halves up, unlike `round`


def _decoded(pictures: Iterator[tuple[Picture, int]]) -> Iterator[tuple[av.VideoFrame, int]]:
    return ((picture.frame, count) for picture, count in pictures)


def is_by_swscale(step: FrameStep) -> bool:
    """Whether FFmpeg does this step while it converts the picture to RGB."""
    return isinstance(step, Resize) and step.method == "swscale_bicubic"


@dataclass(frozen=True)
class Upright:
    """How a video's pictures become RGB frames; its first picture decides for all of them."""

    height: int
    width: int
    matrix: NDArray[np.int32] | None
    """The display matrix."""
    converter: VideoReformatter = field(default_factory=VideoReformatter, compare=False)
    """Computes its tables for the first picture only."""

    @classmethod
    def of(cls, first: av.VideoFrame) -> Self:
        """As the first picture says."""
        # Read from one frame only: PyAV's side data keeps its frame alive in a reference cycle (3 MB at 1080p).
        with files_fault():
            side_data: Any = first.side_data  # Any: PyAV's own types name motion vectors only
            stored = bytes(side_data.get("DISPLAYMATRIX") or b"")
            matrix = np.frombuffer(stored, np.int32).copy() if len(stored) == _MATRIX_BYTES else None
        return cls(first.height, first.width, matrix)

    def frame(self, picture: av.VideoFrame, first_step: FrameStep | None) -> NDArray[np.uint8]:
        """RGB (H, W, 3), rotated upright, and resized by swscale if that is the first step."""
        height, width = self.height, self.width
        if isinstance(first_step, Resize) and is_by_swscale(first_step):
            height, width = first_step.target(height, width)
        with files_fault():
            # One thread: the frame is small, and the other cores are for other decoders and the network.
            rgb = self.converter.reformat(picture, width, height, "rgb24", interpolation="BICUBIC", threads=1)
            seen = rgb.to_ndarray().astype(np.uint8, copy=False)
        return _turned(seen, self.matrix)


def after_steps(
    pictures: Iterator[tuple[av.VideoFrame, int]], steps: Sequence[FrameStep], upright: Upright | None = None
) -> Iterator[Shown]:
    """RGB frames of the pictures after the steps; without `upright`, they begin with the video's first picture."""
    first_step = steps[0] if steps else None

    def frames() -> Iterator[Shown]:
        nonlocal upright
        for picture, count in pictures:
            upright = upright or Upright.of(picture)
            yield upright.frame(picture, first_step), count

    shown = frames()
    for step in steps[1:] if first_step is not None and is_by_swscale(first_step) else steps:
        shown = step.over(shown)
    return shown


def _turned(rgb: NDArray[np.uint8], matrix: NDArray[np.int32] | None) -> NDArray[np.uint8]:
    """Rotated by the display matrix (x', y') = (a x + c y, b x + d y), given as a b u c d v x y w."""
    if matrix is None:
        return rgb
    a, b, _, c, d = matrix[:5].tolist()
    if abs(b) > abs(a):
        rgb = rgb.transpose(1, 0, 2)
        flips_x, flips_y = c < 0, b < 0
    else:
        flips_x, flips_y = a < 0, d < 0
    return rgb[:: -1 if flips_y else 1, :: -1 if flips_x else 1]


def main() -> None:
    """Answers the requests, and exits without cleanup, which a broken video could make hang or crash."""
    channel = open_channel()
    requests = received_requests()
    while True:
        request = requests.get()
        with reporting(channel):
            serve(request, channel)
        if request["task"] != "facts":
            os._exit(0)


if __name__ == "__main__":
    main()
