"""Frames of one video at a constant rate, decoded in a separate process while the caller works on earlier ones."""

import contextlib
import importlib.util
import itertools
import json
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from actloc import fault_injection
from actloc.errors import CodeError, DecoderBugError, UserError, VideoError
from actloc.settings.choices import ReaderName
from actloc.video import frame_transforms, step_messages
from actloc.video.base import (
    MESSAGE,
    Playback,
    Span,
    Survey,
    VideoFacts,
    checked_path,
    find_ffmpeg,
    python_command,
    python_environment,
)
from actloc.video.frame_transforms import FrameStep
from actloc.video.windows import Picking

Rate = float | Literal["native"]
Frame = NDArray[Any]  # (H, W, c), uint8 unless a step makes it float32

_BUFFERED_BYTES = 32 << 20  # of frames decoded ahead; the decoder then waits for the consumer, so memory is bounded
_POLL_S = 0.2


@dataclass(frozen=True)
class Summary:
    """What a video contained, known after all of it was read; sizes in pixels before resizing."""

    frames_decoded: int
    corrupt_frames: int
    """Decoded frames that the decoder had to patch up."""
    num_frames: int
    """Frames at the constant rate after the steps: optical flow drops the last one. If clips pick their own frames, the
    number of places to pick from."""
    fps: float
    """The constant rate."""
    duration_s: float
    width: int
    height: int
    reader: str
    """The reader that was used: `ffmpeg` as well where `pyav` could not open the file."""


def read_frames(
    path: Path,
    *,
    fps: Rate,
    decode_fps: Rate | None = None,
    steps: Sequence[FrameStep] = (),
    reader: ReaderName = "pyav",
    timeout_s: float = 30.0,
    check_stop: Callable[[], None] = lambda: None,
    span: Span | None = None,
) -> "FrameReader":
    """Starts decoding `path`; iterate the result for RGB frames (H, W, 3) uint8, `fps` of them per second.

    "native" is the video's own rate. With `decode_fps`, the video is resampled to that rate first, and every n-th frame
    is returned; if n is not whole, all frames are returned, and clips pick their own: `FrameReader.picking`.

    Call it from a thread that lives until reading ends: the decoding process is killed with it.

    Time zero is the first frame's timestamp; each output frame is the picture shown at that time, as with ffmpeg's
    filter `fps`; with `span` only this part of the video is read. Each frame then goes through `steps`, which may
    change its size, channels and type. `check_stop` is called several times a second while there is no frame yet; what
    it raises ends the reading. Failures raise VideoError, from here or from the iteration.
    """
    check_installed(reader, steps)
    hangs = fault_injection.inject("decode") == "hang"
    request = {"task": "frames", "path": str(checked_path(path)), "reader": reader, "hangs": hangs}
    rates = {"fps": fps, "decode_fps": decode_fps, "span": None if span is None else span.to_json()}
    return FrameReader({**request, **rates, "steps": step_messages.to_json(steps)}, timeout_s, check_stop)


def check_installed(reader: ReaderName, steps: Sequence[FrameStep]) -> None:
    """Raises UserError or EnvironmentProblem if the reader or a step needs something that is not installed.

    Every video would fail for that reason, so it is not reported as a failure of one.
    """
    if reader == "decord" and importlib.util.find_spec("decord") is None:
        raise UserError(
            "machine.reader is decord, which is not installed.",
            "Expected pyav, ffmpeg, or an installed decord.",
            "Run: pip install actloc[decord], or set machine.reader=pyav",
        )
    frame_transforms.check_installed(steps)
    if reader == "ffmpeg":
        find_ffmpeg()


def probe(
    path: Path, *, reader: ReaderName = "pyav", timeout_s: float = 30.0, unlisted_folders: bool = False
) -> VideoFacts:
    """Reads the header of `path`, without decoding. Raises VideoError.

    `unlisted_folders` also takes folders of numbered frames without frames.json, as if at 25 frames per second.
    """
    checked = checked_path(path, unlisted_folders=unlisted_folders)
    request = {"task": "facts", "path": str(checked), "reader": reader}
    with FrameReader(request, timeout_s, lambda: None) as child:
        return VideoFacts(**child.facts())


def survey(path: Path, *, timeout_s: float = 60.0) -> Survey:
    """Reads the packets of a file without decoding them; raises VideoError."""
    request = {"task": "survey", "path": str(checked_path(path)), "reader": "pyav"}
    with FrameReader(request, timeout_s, lambda: None) as child:
        return Survey(**child.facts())


def playback(path: Path, *, timeout_s: float = 30.0) -> Playback:
    """What a player needs to know of a file, from its header; raises VideoError."""
    request = {"task": "playback", "path": str(checked_path(path)), "reader": "pyav"}
    with FrameReader(request, timeout_s, lambda: None) as child:
        return Playback(**child.facts())


class FrameReader:
    """An iterator over frames; a context manager that ends the decoding process."""

    def __init__(
        self,
        request: dict[str, Any],  # Any: JSON values
        timeout_s: float,
        check_stop: Callable[[], None],
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._say = say
        self._timeout_s = timeout_s
        self._check_stop = check_stop
        self._summary: Summary | None = None
        self.has_failed = False
        """Whether the process has ended amid an answer or made no progress, so that it cannot be asked again."""
        self.picking: Picking | None = None
        """How clips pick their own frames from these, known after the first frame; None if they take all of them."""
        self._shape: tuple[int, ...] = ()
        self._dtype = np.dtype(np.uint8)
        self._process = subprocess.Popen(
            python_command("decode"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,  # for errors that keep it from starting; it closes stderr once it runs
            env=python_environment(),
            start_new_session=True,  # Ctrl-C goes to the parent, which decides when to stop
        )
        assert self._process.stdout, "it was asked for"
        self._messages = _Messages(self._process.stdout)
        self.ask(request)

    def ask(self, request: dict[str, Any]) -> None:  # Any: JSON values
        """Sends a request: the first, or one for the facts of another header after the answer to such a one."""
        self._file = str(request["path"])
        assert self._process.stdin, "it was asked for"
        with contextlib.suppress(BrokenPipeError):  # a child that has died is noticed by its missing answer
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()

    @property
    def summary(self) -> Summary:
        """What the video contained; available after the last frame."""
        assert self._summary is not None, "the video is not read to its end"
        return self._summary

    @property
    def backlog(self) -> float:
        """How full the buffer of decoded frames is, from 0 to 1; 1 after the last frame was buffered."""
        return self._messages.backlog

    def __iter__(self) -> Iterator[Frame]:
        try:
            while True:
                kind, count, content = self._next()
                if kind == b"S":
                    kind_of_frames = json.loads(content)
                    self._shape, self._dtype = tuple(kind_of_frames["shape"]), np.dtype(kind_of_frames["dtype"])
                    if kind_of_frames["picking"]:
                        self.picking = Picking(**kind_of_frames["picking"])
                elif kind == b"F":
                    frame = np.frombuffer(content, self._dtype).reshape(self._shape)
                    yield from itertools.repeat(frame, count)
                elif kind == b"L":
                    self._say(json.loads(content)["line"])
                elif kind == b"E":
                    self._summary = Summary(**json.loads(content))
                    return
        finally:
            self.close()

    def facts(self) -> dict[str, Any]:  # Any: JSON values
        """The answer to a request for facts of a header or of packets."""
        while True:
            kind, _, content = self._next()
            if kind == b"V":
                answer: dict[str, Any] = json.loads(content)  # Any: as above
                return answer

    def _next(self) -> tuple[bytes, int, bytes]:
        deadline = time.monotonic() + self._timeout_s
        while (message := self._messages.take(_POLL_S)) is None:
            self._check_stop()
            has_ended = self._messages.is_over
            self.has_failed = has_ended or time.monotonic() > deadline
            if has_ended:
                raise end_of(self._process, self._file, self._timeout_s)
            if self.has_failed:
                raise no_progress(self._timeout_s)
        kind, count, content = message
        raise_failure(kind, content, self._file)
        return kind, count, content

    def close(self) -> None:
        """Ends the decoding process; may be called again."""
        self._process.kill()
        self._messages.close()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def raise_failure(kind: bytes, content: bytes, file: str) -> None:
    """Raises the error that a decoding process reports with a message of this kind; none for other kinds."""
    if kind == b"X":
        raise VideoError(**json.loads(content))
    if kind == b"C":
        raise CodeError(**json.loads(content))
    if kind == b"B":
        raise DecoderBugError(file, json.loads(content)["traceback"])


def no_progress(timeout_s: float) -> VideoError:
    """The error of a decoding process that stays silent."""
    return VideoError("timeout", "decoding made no progress", f"a frame within {timeout_s:g} s", "none")


def end_of(process: "subprocess.Popen[bytes]", file: str, timeout_s: float) -> VideoError | DecoderBugError:
    """Why a decoding process has ended amid its answer."""
    status = process.wait(timeout_s)
    assert process.stderr, "it was asked for"
    complaint = process.stderr.read().decode("utf-8", "replace") if status >= 0 else ""
    if complaint:  # Python could not start it, before any file was opened
        return DecoderBugError(file, complaint)
    # Not retried with another reader: a file that crashes a decoder may be an attack, and should be reported.
    cause = signal.Signals(-status).name if status < 0 else f"status {status}"
    detail = f"the decoding process ended with {cause}; try machine.reader=ffmpeg"
    return VideoError("unreadable", detail, "frames", cause)


class _Messages:
    """A thread that reads messages from the pipe into a bounded buffer."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._buffer: deque[tuple[bytes, int, bytes]] = deque()
        self._buffered_bytes = 0
        self._changed = threading.Condition()
        self._is_closed = False
        self._is_drained = False
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether the pipe has ended and every message is taken."""
        with self._changed:
            return self._is_drained and not self._buffer

    @property
    def backlog(self) -> float:
        """How full the buffer is, from 0 to 1; 1 after the pipe has ended."""
        with self._changed:
            return 1.0 if self._is_drained else min(self._buffered_bytes / _BUFFERED_BYTES, 1.0)

    def take(self, timeout_s: float) -> tuple[bytes, int, bytes] | None:
        """The next message (kind, count, content), or None if there is none within `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._buffer or self._is_drained, timeout_s)
            if not self._buffer:
                return None
            message = self._buffer.popleft()
            self._buffered_bytes -= len(message[2])
            self._changed.notify_all()
            return message

    def close(self) -> None:
        """Discards what is buffered and waits for the thread; the process must have been killed."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()
        self._buffer.clear()

    def _receive(self) -> None:
        while message := self._from_pipe():
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or self._buffered_bytes < _BUFFERED_BYTES)
                if self._is_closed:
                    break
                self._buffer.append(message)
                self._buffered_bytes += len(message[2])
                self._changed.notify_all()
        with self._changed:
            self._is_drained = True
            self._changed.notify_all()

    def _from_pipe(self) -> tuple[bytes, int, bytes] | None:
        header = self._pipe.read(MESSAGE.size)
        if len(header) < MESSAGE.size:
            return None
        kind, count, size = MESSAGE.unpack(header)
        content = self._pipe.read(size)
        return (kind, count, content) if len(content) == size else None
