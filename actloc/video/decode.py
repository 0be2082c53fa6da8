"""`python -m actloc.video.decode`: the process that decodes one video, so that a bad one takes nothing with it (R6).

A JSON request comes in on stdin, which then stays open as long as the parent lives. Messages go out on stdout:
a kind (1 byte), a count and a size (4 bytes each, little endian), then `size` bytes.

S  JSON: shape, dtype, picking of what follows       F  one frame, to be shown `count` times
E  JSON: the summary; the end                        X  JSON: a VideoError; the end
P  nothing: still decoding                           V  JSON: the facts of a header; the end
B  JSON: the traceback of a bug of ours; the end     C  JSON: a CodeError, of a step of the user's own; the end
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
from actloc.video.frame_transforms import FrameStep, Resize
from actloc.video.lifeline import die_with_parent
from actloc.video.readers.base import Account, Picture
from actloc.video.windows import Picking

_SECONDS_BETWEEN_SIGNS_OF_LIFE = 1.0
_FALLBACK = "ffmpeg"


class Channel:
    """The way to the parent."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._last_s = time.monotonic()
        self.has_begun = False
        """Whether the first frame is on its way."""

    def send(self, kind: bytes, content: bytes | memoryview = b"", count: int = 0) -> None:
        """One message."""
        self._stream.write(MESSAGE.pack(kind, count, len(content)))
        self._stream.write(content)
        self._stream.flush()
        self._last_s = time.monotonic()
        self.has_begun |= kind == b"S"

    def send_json(self, kind: bytes, **fields: Any) -> None:  # Any: JSON values
        """One message that holds a JSON object."""
        self.send(kind, json.dumps(fields).encode())

    def is_alive(self) -> None:
        """Tells the parent now and then that decoding goes on, however rare the frames it wants are."""
        if time.monotonic() - self._last_s > _SECONDS_BETWEEN_SIGNS_OF_LIFE:
            self.send(b"P")


def serve(request: dict[str, Any], channel: Channel) -> None:  # Any: JSON values
    """Answers one request: a header's facts, or all frames of a video."""
    path = Path(request["path"])
    if request.get("hangs"):
        threading.Event().wait()  # the fault of reliability G38
    reader = "images" if path.is_dir() else request["reader"]
    try:
        _answer(request, path, reader, channel)
    except VideoError as error:
        # Pictures of two readers are never mixed.
        if reader != "pyav" or error.reason != "unreadable" or channel.has_begun:
            raise
        _try_fallback(request, path, error, channel)


def _try_fallback(request: dict[str, Any], path: Path, error: VideoError, channel: Channel) -> None:
    """Answers with the other reader; its finding counts if it got further, and is told beside the first in any case."""
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
    """What a foreign file brings about in a library that reads it is that file's failure; all else is a bug of ours."""
    try:
        yield
    except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
        if isinstance(error, BrokenPipeError) and not isinstance(error, av.FFmpegError):
            raise  # the parent has seen enough
        raise VideoError("unreadable", f"{type(error).__name__}: {error}") from error


def _answer(request: dict[str, Any], path: Path, reader: str, channel: Channel) -> None:
    module = importlib.import_module(f"actloc.video.readers.{reader}")
    if request["task"] == "facts":
        with _files_fault():
            facts = module.facts(path)
        channel.send_json(b"V", **asdict(facts))
        return
    account = Account()
    own_rate = None
    if "native" in (request["fps"], request["decode_fps"]):
        with _files_fault():
            own_rate = module.rate(path, channel.is_alive)
    fps, decode_fps = _exact(request["fps"], own_rate), _exact(request["decode_fps"] or request["fps"], own_rate)
    pictures = resampled(_watched(module.pictures(path, account), channel), account, decode_fps)
    picking = Picking(float(decode_fps), float(fps))
    is_whole = picking.step.is_integer()
    if is_whole:
        pictures = every(int(picking.step), pictures)
    steps = frame_transforms.from_json(request["steps"])
    num_frames = send_frames(pictures, steps, channel, None if is_whole else picking)
    channel.send_json(
        b"E",
        frames_decoded=account.frames,
        corrupt_frames=account.corrupt_frames,
        num_frames=num_frames,
        fps=float(fps),
        duration_s=float(account.end_s),
        width=account.width,
        height=account.height,
        reader=reader,
    )


def _exact(fps: float | str, own_rate: Fraction | None) -> Fraction:
    """Frames per second as a fraction of the precision that ffmpeg's own rates have."""
    rate = own_rate if fps == "native" else Fraction(fps)
    if not rate:
        raise VideoError("unsupported", "the video does not state its frame rate", "frames per second", "none")
    return rate.limit_denominator(1_001_000)


def send_frames(
    pictures: Iterator[tuple[Picture, int]], steps: list[FrameStep], channel: Channel, picking: Picking | None = None
) -> int:
    """Sends the frames that the steps make of pictures; returns their number, as clips count that pick their own."""
    frames = upright(pictures, steps[0] if steps else None)
    for step in steps[1:] if steps and is_by_swscale(steps[0]) else steps:
        frames = step.over(frames)
    total = 0
    for frame, count in frames:
        content = np.ascontiguousarray(frame)
        if total == 0:
            told = None if picking is None else asdict(picking)
            channel.send_json(b"S", shape=content.shape, dtype=content.dtype.name, picking=told)
        channel.send(b"F", content.data.cast("B"), count)
        total += count
    return total if picking is None else picking.num_places(total)


def _watched(pictures: Iterator[Picture], channel: Channel) -> Iterator[Picture]:
    with _files_fault():  # of the reader: what takes the pictures raises elsewhere
        for picture in pictures:
            channel.is_alive()
            yield picture


def resampled(pictures: Iterator[Picture], account: Account, fps: Fraction) -> Iterator[tuple[Picture, int]]:
    """Pictures and how often each is shown at `fps`, as ffmpeg's filter `fps` does it with `round=near`.

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
    end = _frame_number(account.end_s, fps)
    if waiting is not None and end > shown:
        yield waiting, end - shown


def every(step: int, shown: Iterator[tuple[Picture, int]]) -> Iterator[tuple[Picture, int]]:
    """Every `step`-th of the frames that pictures are, each shown so many times."""
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
    return _nearest(time_s * fps)


def _nearest(value: Fraction) -> int:
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


def is_by_swscale(step: FrameStep) -> bool:
    """Whether FFmpeg does this step while it turns the picture into RGB."""
    return isinstance(step, Resize) and step.method == "swscale_bicubic"


def upright(
    pictures: Iterator[tuple[Picture, int]], first: FrameStep | None
) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """RGB frames (H, W, 3) as they are to be seen, resized by swscale if the first step says so."""
    matrix: NDArray[np.int32] | None = None
    size: tuple[int, int] | None = None
    for picture, count in pictures:
        frame = picture.frame
        if size is None:  # the first frame decides for all of them
            size = frame.height, frame.width
            if isinstance(first, Resize) and is_by_swscale(first):
                size = first.target(*size)
            # Asked of one frame only: PyAV ties a frame to its side data in a circle, and a frame of 1080p is 3 MB.
            with _files_fault():
                side_data: Any = frame.side_data  # Any: PyAV's own types name motion vectors only
                stored = side_data.get("DISPLAYMATRIX")
                matrix = None if stored is None else np.frombuffer(stored, np.int32).copy()
        with _files_fault():
            # One thread: the frame is small, and the machine's cores belong to other decoders and the network.
            rgb = frame.reformat(width=size[1], height=size[0], format="rgb24", interpolation="BICUBIC", threads=1)
            seen = rgb.to_ndarray().astype(np.uint8, copy=False)
        yield _turned(seen, matrix), count


def _turned(rgb: NDArray[np.uint8], matrix: NDArray[np.int32] | None) -> NDArray[np.uint8]:
    """By the display matrix (x', y') = (a x + c y, b x + d y), given as a b u c d v x y w."""
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
    os.read(0, 1)  # comes back when the parent closes the pipe or dies
    os._exit(1)


def main() -> None:
    """Reads the request, answers it, and leaves without tearing down what a broken video may have left behind."""
    die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):  # the parent decides when to stop
        signal.signal(number, signal.SIG_IGN)
    channel = Channel(os.fdopen(os.dup(1), "wb"))
    for descriptor in (1, 2):  # what a library prints must not reach the channel, nor fill the pipe of a failed start
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    av.logging.set_level(None)
    request = json.loads(_line(0))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with blaming():
            serve(request, channel)
    except BrokenPipeError:
        pass  # the parent has seen enough
    except UserError as error:
        channel.send_json(b"C", found=error.found, expected=error.expected, mend=error.mend)
    except VideoError as error:
        channel.send_json(b"X", reason=error.reason, detail=error.detail, expected=error.expected, found=error.found)
    except MemoryError:  # the pictures are the file's, whoever of us asks for room for one more
        channel.send_json(b"X", reason="unreadable", detail="out of memory", expected="smaller pictures", found="")
    except Exception:
        channel.send_json(b"B", traceback=traceback.format_exc())
    os._exit(0)


def _line(descriptor: int) -> bytes:
    """One line, and not a byte more: the rest belongs to the thread that waits for the end."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(descriptor, 1)
        if not byte:
            os._exit(1)
        line += byte
    return line


if __name__ == "__main__":
    main()
