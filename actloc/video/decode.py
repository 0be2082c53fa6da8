"""`python -m actloc.video.decode`: the process that decodes one video, so that a bad one takes nothing with it (R6).

A JSON request comes in on stdin, which then stays open as long as the parent lives. Messages go out on stdout:
a kind (1 byte), a count and a size (4 bytes each, little endian), then `size` bytes.

S  JSON: height, width of the frames that follow     F  one RGB frame, to be shown `count` times
E  JSON: the summary; the end                        X  JSON: a VideoError; the end
P  nothing: still decoding                           V  JSON: the facts of a header; the end
"""

import importlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
import numpy as np
from numpy.typing import NDArray

from actloc.errors import VideoError
from actloc.video.base import LARGEST_SIDE, LONGEST_S, MESSAGE
from actloc.video.lifeline import die_with_parent
from actloc.video.readers.base import Account, Picture

_SECONDS_BETWEEN_SIGNS_OF_LIFE = 1.0
_FALLBACK = "ffmpeg"


class Channel:
    """The way to the parent."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._last_s = time.monotonic()

    def send(self, kind: bytes, content: bytes | memoryview = b"", count: int = 0) -> None:
        """One message."""
        self._stream.write(MESSAGE.pack(kind, count, len(content)))
        self._stream.write(content)
        self._stream.flush()
        self._last_s = time.monotonic()

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
        # Said before the first picture, so pictures of two readers are never mixed.
        if reader != "pyav" or error.reason != "unreadable":
            raise
        _try_fallback(request, path, error, channel)


def _try_fallback(request: dict[str, Any], path: Path, error: VideoError, channel: Channel) -> None:
    try:
        _answer(request, path, _FALLBACK, channel)
    except VideoError as second:
        raise (error if second.reason == "unreadable" else second) from None
    except Exception as cause:  # such as no ffmpeg on this machine: the first reader's finding stands
        raise error from cause


def _answer(request: dict[str, Any], path: Path, reader: str, channel: Channel) -> None:
    module = importlib.import_module(f"actloc.video.readers.{reader}")
    if request["task"] == "facts":
        channel.send_json(b"V", **asdict(module.facts(path)))
        return
    account = Account()
    fps = Fraction(request["fps"]).limit_denominator(1_001_000)  # the precision of ffmpeg's own frame rates
    pictures = module.pictures(path, account)
    num_frames = send_frames(pictures, account, fps, request["short_side"], request["crop"], channel)
    channel.send_json(
        b"E",
        frames_decoded=account.frames,
        corrupt_frames=account.corrupt_frames,
        num_frames=num_frames,
        duration_s=float(account.end_s),
        width=account.width,
        height=account.height,
        reader=reader,
    )


def send_frames(
    pictures: Iterator[Picture],
    account: Account,
    fps: Fraction,
    short_side: int | None,
    crop: int | None,
    channel: Channel,
) -> int:
    """Sends the frames at the constant rate `fps`, resized and cropped; returns their number."""
    view = None
    total = 0
    for picture, count in resampled(_watched(pictures, channel), account, fps):
        if view is None:
            view = View.of(picture.frame, short_side, crop)
        rgb = view.apply(picture.frame)
        if total == 0:
            channel.send_json(b"S", height=rgb.shape[0], width=rgb.shape[1])
        channel.send(b"F", rgb.data.cast("B"), count)
        total += count
    return total


def _watched(pictures: Iterator[Picture], channel: Channel) -> Iterator[Picture]:
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


def _frame_number(time_s: Fraction, fps: Fraction) -> int:
    if time_s > LONGEST_S:
        expected = f"at most {LONGEST_S} s"
        raise VideoError("unsupported", "a time stamp is beyond reason", expected, f"{float(time_s):g} s")
    return _nearest(time_s * fps)


def _nearest(value: Fraction) -> int:
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


@dataclass(frozen=True)
class View:
    """How every frame of a video is resized, turned upright and cropped: the first one decides."""

    width: int
    height: int
    matrix: tuple[int, ...] | None
    """Display matrix (x', y') = (a x + c y, b x + d y), given as a b u c d v x y w."""
    crop: int | None

    @staticmethod
    def of(frame: av.VideoFrame, short_side: int | None, crop: int | None) -> "View":
        """Short side as asked, long side in proportion to the nearest even number."""
        width, height = frame.width, frame.height
        if short_side is not None and short_side != min(width, height):
            long_side = 2 * _nearest(Fraction(max(width, height) * short_side, 2 * min(width, height)))
            width, height = (short_side, long_side) if width < height else (long_side, short_side)
        if max(width, height) > LARGEST_SIDE:
            raise VideoError(
                "unsupported", "the frame is too elongated", f"at most {LARGEST_SIDE}", f"{width} x {height}"
            )
        if crop is not None and min(width, height) < crop:
            raise VideoError("unsupported", "the frame is smaller than the crop", f"{crop}", f"{width} x {height}")
        # Asked of one frame only: PyAV ties a frame to its side data in a circle, and a frame of 1080p is 3 MB.
        side_data: Any = frame.side_data  # Any: PyAV's own types name motion vectors only
        matrix = side_data.get("DISPLAYMATRIX")
        numbers = None if matrix is None else tuple(np.frombuffer(matrix, np.int32).tolist())
        return View(width, height, numbers, crop)

    def apply(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """RGB (H, W, 3), resized by swscale's bicubic, upright, the centre cut out."""
        # One thread: the frame is small, and the machine's cores belong to other decoders and the network.
        small = frame.reformat(width=self.width, height=self.height, format="rgb24", interpolation="BICUBIC", threads=1)
        rgb = self._upright(small.to_ndarray().astype(np.uint8, copy=False))
        if self.crop is not None:
            top, left = (rgb.shape[0] - self.crop) // 2, (rgb.shape[1] - self.crop) // 2
            rgb = rgb[top : top + self.crop, left : left + self.crop]
        return np.ascontiguousarray(rgb)

    def _upright(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.matrix is None:
            return rgb
        a, b, _, c, d = self.matrix[:5]
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
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints must not reach the channel
    av.logging.set_level(None)
    request = json.loads(_line(0))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        serve(request, channel)
    except BrokenPipeError:
        pass  # the parent has seen enough
    except VideoError as error:
        channel.send_json(b"X", reason=error.reason, detail=error.detail, expected=error.expected, found=error.found)
    except Exception as error:  # whatever a foreign file brings about in a decoder is that file's failure (R6)
        channel.send_json(b"X", reason="unreadable", detail=f"{type(error).__name__}: {error}", expected="", found="")
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
