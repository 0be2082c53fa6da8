"""Frames from memory as a video file without loss, so that they are read as any other video is."""

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.stream import VideoStream

from actloc.errors import EnvironmentProblem, UserError
from actloc.video.base import LARGEST_SIDE

NAME = "frames.mov"
"""A QuickTime file of PNG pictures: its clock is exact at any rate, and any picture of it can be found."""
_FORM = "(H, W, 3), red, green and blue, of dtype uint8 from 0 to 255"


def write_frames(frames: Iterator[Any], fps: Any, path: Path) -> int:  # Any: not checked yet
    """Writes RGB frames, each an array (H, W, 3) uint8, `fps` of them per second; returns their number.

    One frame is in memory at a time. Raises UserError for frames that are no such arrays or differ in size, and
    EnvironmentProblem where the file cannot be written.
    """
    rate = _rate(fps)
    count, stream = 0, None
    try:
        with av.open(str(path), "w") as container:
            for count, frame in enumerate(frames, start=1):
                checked = _checked(frame, count - 1)
                if stream is None:
                    stream = container.add_stream("png", rate=rate, options={"compression_level": "1"})
                    stream.height, stream.width = checked.shape[:2]
                    stream.pix_fmt = "rgb24"
                _refuse_other_size(stream, checked, count - 1)
                picture = av.VideoFrame.from_ndarray(checked, format="rgb24")
                picture.pts, picture.time_base = count - 1, 1 / rate
                container.mux(stream.encode(picture))
            if stream is not None:
                container.mux(stream.encode(None))
    except (OSError, av.FFmpegError) as error:
        raise EnvironmentProblem(
            f"Cannot write the frames to {path}: {error}.",
            "Expected space for them in the folder of temporary files, compressed without loss.",
            "Free space there, or set the environment variable TMPDIR to another folder.",
        ) from error
    if not count:
        raise UserError("There are 0 frames.", f"Expected arrays {_FORM}.", "Check where the frames come from.")
    return count


def _rate(fps: Any) -> Fraction:  # Any: not checked yet
    is_number = isinstance(fps, int | float | Fraction | np.number) and not isinstance(fps, bool)
    if not is_number or not math.isfinite(fps) or fps <= 0:
        raise UserError(
            f"fps is {fps!r}." if fps is not None else "The frames have no rate: fps is not given.",
            "Expected frames per second, a number above 0: times are counted with it.",
            "Pass the rate that the frames were taken at: predict(frames, fps=25)",
        )
    exact = fps if isinstance(fps, Fraction) else Fraction(float(fps))
    return exact.limit_denominator(1_001_000)


def _checked(frame: Any, number: int) -> np.ndarray[Any, np.dtype[np.uint8]]:  # Any: not checked yet
    """The frame, if it has the right form."""
    fix = "Convert it first, such as with numpy.asarray(frame)"
    if not isinstance(frame, np.ndarray):
        found = f"a {type(frame).__name__}"
    elif frame.dtype != np.uint8:
        found = f"an array of dtype {frame.dtype}"
        fix = "Convert the frames first; those from 0 to 1: (255 * frames).round().astype(numpy.uint8)"
    elif frame.ndim != 3 or frame.shape[2] != 3 or not all(frame.shape):
        found = f"an array of shape {frame.shape}"
        fix = "Put the colours last: frames of shape (T, 3, H, W) become right by frames.transpose(0, 2, 3, 1)"
        if frame.ndim == 2:
            fix = "Repeat the grey values as three colours: numpy.stack([frame] * 3, axis=-1)"
    elif max(frame.shape) > LARGEST_SIDE:
        found = f"an array of shape {frame.shape}"
        fix = f"Resize the frames: a side has {LARGEST_SIDE} pixels at most"
    else:
        return np.ascontiguousarray(frame)
    raise UserError(f"Frame {number} is {found}.", f"Expected an array {_FORM}.", fix)


def _refuse_other_size(stream: VideoStream, frame: np.ndarray[Any, Any], number: int) -> None:
    if (stream.height, stream.width) != frame.shape[:2]:
        height, width = frame.shape[:2]
        raise UserError(
            f"Frame {number} has {height} x {width} pixels, frame 0 has {stream.height} x {stream.width}.",
            "Expected frames of one size (height x width).",
            "Resize them, or predict the frames of each size by themselves.",
        )
