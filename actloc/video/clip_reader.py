"""Clips of videos at random places, read by processes that live as long as the reader.

Training reads random clips again and again, so a process keeps the last videos open and lists the pictures of each
once. The frames are those of extraction (reader.py with windows.py), bit for bit.
"""

import json
import os
import selectors
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from actloc import fault_injection
from actloc.errors import VideoError
from actloc.settings.choices import ReaderName
from actloc.video import step_messages
from actloc.video.base import MESSAGE, OPEN_VIDEOS, Span, checked_path, python_command, python_environment
from actloc.video.frame_transforms import FrameStep
from actloc.video.reader import Rate, check_installed, end_of, no_progress, raise_failure

_CLOSED = "the ClipReader is closed"


@dataclass(frozen=True)
class VideoTimes:
    """What is needed to place clips in a video; sizes in pixels before any step."""

    num_frames: int
    """Frames at `fps` after the steps: optical flow drops the last one. If clips pick their own frames, the number of
    places to pick from."""
    fps: float
    duration_s: float
    width: int
    height: int
    frame_shape: tuple[int, ...]
    """(H, W, c) of a frame after the steps."""
    dtype: str
    """uint8 or float32, after the steps."""
    reader: str
    """The reader that was used: `ffmpeg` as well where `pyav` could not open the file."""


class ClipReader:
    """Reads clips of any videos; several threads may do so at once. A context manager that ends the processes."""

    def __init__(
        self,
        num_workers: int,
        *,
        fps: Rate,
        decode_fps: Rate | None = None,
        steps: Sequence[FrameStep] = (),
        reader: ReaderName = "pyav",
        timeout_s: float = 30.0,
        unlisted_folders: bool = False,
    ) -> None:
        """Starts nothing yet: the first reads start up to `num_workers` processes.

        Rates, steps and reader are those of `reader.read_frames`. A process that makes no progress for `timeout_s` is
        killed. `unlisted_folders` also reads folders of numbered frames without frames.json, which state no rate: 25
        frames per second express their times, and `fps` must be native, because no other rate can be made from it.
        """
        if unlisted_folders and (fps, decode_fps) != ("native", None):
            raise ValueError(f"found fps {fps} and decode_fps {decode_fps}, expected native for folders without a rate")
        check_installed(reader, steps)
        self._settings = {"fps": fps, "decode_fps": decode_fps, "reader": reader}
        self._steps = step_messages.to_json(steps)
        self._timeout_s = timeout_s
        self._unlisted_folders = unlisted_folders
        self._workers: list[_Worker | None] = [None] * num_workers
        self._free: deque[int] = deque(range(num_workers))
        self._changed = threading.Condition()
        self._is_closed = False
        # The kernel kills a worker with the thread that started it, so one thread starts them all and lives on.
        self._starter = ThreadPoolExecutor(1)
        self.frames_decoded = 0
        """Pictures that the decoders gave in all reads so far, also those on the way to the ones that were wanted."""
        self._span: Span | None = None

    @contextmanager
    def limited_to(self, span: Span | None) -> Iterator[None]:
        """Until the block ends, every video is this part of it; None is the whole video."""
        self._span = span
        try:
            yield
        finally:
            self._span = None

    def times(self, path: Path) -> VideoTimes:
        """The length of a video and the form of its frames; decodes one picture if its packets state their times.

        Raises VideoError.
        """
        with self._worker(path) as worker:
            for kind, _, size in self._asked(worker, path, {"task": "times", "steps": self._steps}):
                assert kind == b"T", kind
                found = json.loads(worker.content(size))
        return VideoTimes(**{**found, "frame_shape": tuple(found["frame_shape"])})

    def read(
        self,
        path: Path,
        first_frames: Sequence[int],
        clip_frames: int,
        frame_interval: int = 1,
        steps: Sequence[FrameStep] | None = None,
    ) -> NDArray[Any]:
        """Clips (S, F, H, W, c): each begins at one of `first_frames`, spans `clip_frames`, and has every n-th of them.

        First frames are any integers: frames beyond the video repeat its first or last one. `steps` replace those of
        the reader. Raises VideoError.
        """
        if not len(first_frames) or clip_frames < 1 or frame_interval < 1:
            raise ValueError(f"no frames: {len(first_frames)} clips of {clip_frames} // {frame_interval}")
        request = {
            "task": "clips",
            "first_frames": [int(first) for first in first_frames],
            "clip_frames": clip_frames,
            "frame_interval": frame_interval,
            "steps": self._steps if steps is None else step_messages.to_json(steps),
        }
        with self._worker(path) as worker:
            received: _Received | None = None
            for kind, count, size in self._asked(worker, path, request):
                if kind == b"S":
                    received = _Received(**json.loads(worker.content(size)))
                else:
                    assert kind == b"F", kind
                    assert received is not None, "S comes first"
                    received.add(worker, count)
        assert received is not None, "there is a frame at least"
        return received.clips

    def read_frames(self, path: Path, frames: Sequence[int], steps: Sequence[FrameStep] | None = None) -> NDArray[Any]:
        """Any frames (F, H, W, c) of a video by number, in any order and perhaps twice, for one or several clips.

        In one pass: decoding begins at the key frame before the first one, leaves out what key frames allow, and ends
        at the last one; each wanted picture goes through the steps once. Otherwise as `read`.
        """
        return self.read(path, frames, 1, steps=steps)[:, 0]

    def _asked(
        self,
        worker: "_Worker",
        path: Path,
        request: dict[str, Any],  # Any: JSON values
    ) -> Iterator[tuple[bytes, int, int]]:
        """Headers of the messages of the answer, whose contents the caller takes; raises what went wrong."""
        hangs = fault_injection.inject("decode") == "hang"
        checked = checked_path(path, unlisted_folders=self._unlisted_folders)
        worker.is_idle = False
        span = None if self._span is None else self._span.to_json()
        worker.send({**request, "path": str(checked), "hangs": hangs, "span": span})
        while True:
            kind, count, size = worker.header()
            if kind in (b"E", b"X", b"B", b"C"):
                content = worker.content(size)
                worker.is_idle = True
                raise_failure(kind, content, str(path))
                with self._changed:
                    self.frames_decoded += json.loads(content)["frames_decoded"]
                return
            if kind != b"P":
                yield kind, count, size

    @contextmanager
    def _worker(self, path: Path) -> Iterator["_Worker"]:
        """A free worker, if possible the one that has the file open."""
        number = self._take(path)
        try:
            worker = self._workers[number]
            if worker is not None and worker.has_ended:  # while it was idle: not this file's fault
                worker.close()
                worker = None
            if worker is None:
                worker = self._starter.submit(_Worker, self._settings, self._timeout_s).result()
                self._workers[number] = worker
            worker.begin(path)
            yield worker
        except (VideoError, RuntimeError) as error:
            if self._is_closed:
                raise ValueError(_CLOSED) from error
            raise
        finally:
            with self._changed:
                worker = self._workers[number]
                if worker is not None and (self._is_closed or not worker.is_idle):
                    worker.close()
                    self._workers[number] = None
                self._free.append(number)
                self._changed.notify()

    def _take(self, path: Path) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._is_closed)
            if self._is_closed:
                raise ValueError(_CLOSED)

            def preference(number: int) -> tuple[bool, bool]:
                worker = self._workers[number]
                return worker is not None and path in worker.recent, worker is not None

            best = max(self._free, key=preference)
            self._free.remove(best)
            return best

    def close(self) -> None:
        """Ends the processes; may be called again. Reads that are going on fail."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            for number, worker in enumerate(self._workers):
                if worker is not None and number in self._free:
                    worker.close()
                    self._workers[number] = None
                elif worker is not None:  # the thread that waits for its answer closes it
                    worker.kill()
        self._starter.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Received:
    """Clips that are being filled with frames."""

    def __init__(self, shape: Sequence[int], dtype: str, slots: Sequence[int]) -> None:
        self.clips = np.empty(shape, dtype)
        self._frames = self.clips.reshape(-1, *shape[2:])
        order = np.argsort(slots, kind="stable")
        self._due = iter(np.split(order, np.cumsum(np.bincount(slots))[:-1]))
        """The places of each frame among those of all clips, in the order in which frames arrive."""

    def add(self, worker: "_Worker", count: int) -> None:
        """Takes one frame from the worker's pipe to all its places; it is the next `count` that are due."""
        places = np.concatenate([next(self._due) for _ in range(count)])
        first = self._frames[places[0]]
        worker.into(memoryview(first).cast("B"))
        for place in places[1:]:
            self._frames[place] = first


class _Worker:
    """The parent's side of a clip_worker."""

    def __init__(self, settings: dict[str, Any], timeout_s: float) -> None:  # Any: JSON values
        self._timeout_s = timeout_s
        self._process = subprocess.Popen(
            python_command("clip_worker"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,  # for errors that keep it from starting; it closes stderr once it runs
            env=python_environment(),
            start_new_session=True,  # Ctrl-C goes to the parent, which decides when to stop
        )
        assert self._process.stdout, "it was asked for"
        self._pipe = self._process.stdout.fileno()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._pipe, selectors.EVENT_READ)
        self.recent: deque[Path] = deque(maxlen=OPEN_VIDEOS)
        """The files that it has open."""
        self._file = Path()
        self.is_idle = True
        """Whether its last answer is complete, so that it can be asked again."""
        self.send(settings)

    @property
    def has_ended(self) -> bool:
        """Whether there is no such process any more."""
        return self._process.poll() is not None

    def begin(self, file: Path) -> None:
        """The next request is about this file."""
        self._file = file
        if file in self.recent:
            self.recent.remove(file)
        self.recent.append(file)

    def send(self, line: dict[str, Any]) -> None:  # Any: JSON values
        """Sends one line of JSON; a worker that has died is noticed by its missing answer."""
        assert self._process.stdin, "it was asked for"
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(line).encode() + b"\n")
            self._process.stdin.flush()

    def header(self) -> tuple[bytes, int, int]:
        """Kind, count and size of the next message; its content must be taken next."""
        kind, count, size = MESSAGE.unpack(self.content(MESSAGE.size))
        return kind, count, size

    def content(self, size: int) -> bytes:
        """The next `size` bytes."""
        result = bytearray(size)
        self.into(memoryview(result))
        return bytes(result)

    def into(self, target: memoryview) -> None:
        """Fills `target`; raises VideoError `timeout`, or what `end_of` says of a worker that has ended."""
        while target:
            if not self._selector.select(self._timeout_s):
                raise no_progress(self._timeout_s)
            received = os.readv(self._pipe, [target])
            if not received:
                raise end_of(self._process, str(self._file), self._timeout_s)
            target = target[received:]

    def kill(self) -> None:
        """Ends the process, also while another thread waits for its answer."""
        self._process.kill()

    def close(self) -> None:
        """Ends the process and closes its pipes."""
        self._process.kill()
        self._selector.close()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()
        self._process.wait()
