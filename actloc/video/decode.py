"""`python -m actloc.video.decode`: the process that decodes one video, so that a crash affects no other.

A JSON request arrives on stdin, which then stays open as long as the parent lives. Messages are written to stdout:
a kind (1 byte), a count and a size (4 bytes each, little endian), then `size` bytes.

S  JSON: shape, dtype, picking of what follows       F  one frame, to be shown `count` times
E  JSON: the summary; the end                        X  JSON: a VideoError; the end
P  nothing: still decoding                           V  JSON: the facts of a header; the end
B  JSON: the traceback of a bug in actloc; the end   C  JSON: a CodeError from the user's own step; the end
"""

import importlib
import json
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
import numpy as np
from numpy.typing import NDArray

from actloc.errors import EnvironmentProblem, UserError, VideoError
from actloc.settings.code_errors import blaming
from actloc.video import frame_transforms
from actloc.video.base import LONGEST_S, MESSAGE
from actloc.video.die_with_parent import die_with_parent
from actloc.video.frame_transforms import FrameStep, Resize
from actloc.video.readers.base import DecodingStats, Picture
from actloc.video.windows import Picking

_SECONDS_BETWEEN_SIGNS_OF_LIFE = 1.0
_FALLBACK = "ffmpeg"


class Channel:
    """Sends messages to the parent process."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._last_s = time.monotonic()
        self.has_begun = False
        """Whether the first frame has been announced."""

    def send(self, kind: bytes, content: bytes | memoryview = b"", count: int = 0) -> None:
        """Sends one message."""
        self._stream.write(MESSAGE.pack(kind, count, len(content)))
        self._stream.write(content)
        self._stream.flush()
        self._last_s = time.monotonic()
        self.has_begun |= kind == b"S"

    def send_json(self, kind: bytes, **fields: Any) -> None:  # Any: JSON values
        """Sends one message whose content is a JSON object."""
        self.send(kind, json.dumps(fields).encode())

    def report_progress(self) -> None:
        """Reports to the parent, at most once a second, that decoding continues, even if no frame is due yet."""
        if time.monotonic() - self._last_s > _SECONDS_BETWEEN_SIGNS_OF_LIFE:
            self.send(b"P")


def serve(request: dict[str, Any], channel: Channel) -> None:  # Any: JSON values
    """Answers one request: a header's facts, or all frames of a video."""
    path = Path(request["path"])
    if request.get("hangs"):
        threading.Event().wait()  # an injected fault: a decoder that never answers
    reader = "images" if path.is_dir() else request["reader"]
    try:
        _answer(request, path, reader, channel)
    except VideoError as error:
        # Never mix pictures of two readers in one video.
        if reader != "pyav" or error.reason != "unreadable" or channel.has_begun:
            raise
        _try_fallback(request, path, error, channel)


def _try_fallback(request: dict[str, Any], path: Path, error: VideoError, channel: Channel) -> None:
    """Answers with the other reader; its error replaces the first if it got further, and is otherwise added to it."""
    try:
        _answer(request, path, _FALLBACK, channel)
        return
    except VideoError as second:
        if second.reason != "unreadable":
            raise
        also = f"{_FALLBACK}: {second.detail}"
    except EnvironmentProblem as missing:
        also = f"not tried with {_FALLBACK}: {missing.found}"
    raise VideoError(error.reason, f"{error.detail}; {also}", error.expected, error.found)


@contextmanager
def _files_fault() -> Iterator[None]:
    """Turns errors that a file causes in the library reading it into VideoError; any other error is a bug in actloc."""
    try:
        yield
    except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
        if isinstance(error, BrokenPipeError) and not isinstance(error, av.FFmpegError):
            raise  # the parent has closed the pipe
        raise VideoError("unreadable", f"{type(error).__name__}: {error}") from error


def _answer(request: dict[str, Any], path: Path, reader: str, channel: Channel) -> None:
    module = importlib.import_module(f"actloc.video.readers.{reader}")
    if request["task"] == "facts":
        with _files_fault():
            facts = module.facts(path)
        channel.send_json(b"V", **asdict(facts))
        return
    stats = DecodingStats()
    own_rate = None
    if "native" in (request["fps"], request["decode_fps"]):
        with _files_fault():
            own_rate = module.rate(path, channel.report_progress)
    fps, decode_fps = _exact(request["fps"], own_rate), _exact(request["decode_fps"] or request["fps"], own_rate)
    pictures = resampled(_watched(module.pictures(path, stats), channel), stats, decode_fps)
    picking = Picking(float(decode_fps), float(fps))
    is_whole = picking.step.is_integer()
    if is_whole:
        pictures = every(int(picking.step), pictures)
    steps = frame_transforms.from_json(request["steps"])
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
        reader=reader,
    )


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
    frames = upright(pictures, steps[0] if steps else None)
    for step in steps[1:] if steps and is_by_swscale(steps[0]) else steps:
        frames = step.over(frames)
    total = 0
    for frame, count in frames:
        content = np.ascontiguousarray(frame)
        if total == 0:
            sent = None if picking is None else asdict(picking)
            channel.send_json(b"S", shape=content.shape, dtype=content.dtype.name, picking=sent)
        channel.send(b"F", content.data.cast("B"), count)
        total += count
    return total if picking is None else picking.num_places(total)


def _watched(pictures: Iterator[Picture], channel: Channel) -> Iterator[Picture]:
    with _files_fault():  # only the reader's errors: the consumer of the pictures raises outside this block
        for picture in pictures:
            channel.report_progress()
            yield picture


def resampled(pictures: Iterator[Picture], stats: DecodingStats, fps: Fraction) -> Iterator[tuple[Picture, int]]:
    """Pictures and how often each is shown at `fps`, like ffmpeg's filter `fps` with `round=near`.

    Output frame k is the last picture whose time, times fps and rounded, is at most k; the last picture is shown
    until its own end.
    """
    shown, waiting = 0, None
    for picture in pictures:
        number = _frame_number(picture.time_s, fps)
        if waiting is not None and number > shown:
            yield waiting, number - shown
            shown = number
        waiting = picture
    end = _frame_number(stats.end_s, fps)
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


def _frame_number(time_s: Fraction, fps: Fraction) -> int:
    if time_s > LONGEST_S:
        expected = f"at most {LONGEST_S} s"
        raise VideoError("unsupported", "a timestamp is implausible", expected, f"{float(time_s):g} s")
    number = time_s * fps
    return (2 * number.numerator + number.denominator) // (2 * number.denominator)  # halves up, unlike `round`


def is_by_swscale(step: FrameStep) -> bool:
    """Whether FFmpeg does this step while it converts the picture to RGB."""
    return isinstance(step, Resize) and step.method == "swscale_bicubic"


def upright(
    pictures: Iterator[tuple[Picture, int]], first: FrameStep | None
) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """RGB frames (H, W, 3), rotated upright, and resized by swscale if that is the first step."""
    matrix: NDArray[np.int32] | None = None
    size: tuple[int, int] | None = None
    for picture, count in pictures:
        frame = picture.frame
        if size is None:  # the first frame decides for all of them
            size = frame.height, frame.width
            if isinstance(first, Resize) and is_by_swscale(first):
                size = first.target(*size)
            # Read from one frame only: PyAV's side data keeps its frame alive in a reference cycle (3 MB at 1080p).
            with _files_fault():
                side_data: Any = frame.side_data  # Any: PyAV's own types name motion vectors only
                stored = side_data.get("DISPLAYMATRIX")
                matrix = None if stored is None else np.frombuffer(stored, np.int32).copy()
        with _files_fault():
            # One thread: the frame is small, and the other cores are for other decoders and the network.
            rgb = frame.reformat(width=size[1], height=size[0], format="rgb24", interpolation="BICUBIC", threads=1)
            seen = rgb.to_ndarray().astype(np.uint8, copy=False)
        yield _turned(seen, matrix), count


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


def _end_with_parent() -> None:
    os.read(0, 1)  # returns when the parent closes the pipe or dies
    os._exit(1)


def main() -> None:
    """Reads the request, answers it, and exits without cleanup, which a broken video could make hang or crash."""
    die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):  # the parent decides when to stop
        signal.signal(number, signal.SIG_IGN)
    channel = Channel(os.fdopen(os.dup(1), "wb"))
    for descriptor in (1, 2):  # what a library prints must not reach the channel or fill the stderr pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    av.logging.set_level(None)
    request = json.loads(_line(0))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with blaming():
            serve(request, channel)
    except BrokenPipeError:
        pass  # the parent has closed the pipe
    except UserError as error:
        channel.send_json(b"C", found=error.found, expected=error.expected, fix=error.fix)
    except VideoError as error:
        channel.send_json(b"X", reason=error.reason, detail=error.detail, expected=error.expected, found=error.found)
    except MemoryError:  # the file's pictures are too large, wherever the allocation failed
        channel.send_json(b"X", reason="unreadable", detail="out of memory", expected="smaller pictures", found="")
    except Exception:
        channel.send_json(b"B", traceback=traceback.format_exc())
    os._exit(0)


def _line(descriptor: int) -> bytes:
    """Reads one line, and not a byte more: the thread that waits for the end reads the rest."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(descriptor, 1)
        if not byte:
            os._exit(1)
        line += byte
    return line


if __name__ == "__main__":
    main()
