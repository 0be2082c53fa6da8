"""Headers of many videos, read by a few processes that live on from one video to the next."""

import math
import os
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from actloc.errors import VideoError
from actloc.video.base import VideoFacts, checked_path
from actloc.video.reader import FrameReader

_HEADERS_PER_PROCESS = 64
"""A process takes as long to start as it does to read about so many headers."""


class HeaderReader:
    """Reads headers; as many threads as it has processes may do so at once. A context manager that ends these."""

    def __init__(self, num_videos: int, *, timeout_s: float = 30.0) -> None:
        """Starts nothing yet. A process that makes no progress for `timeout_s` is given up, as one that ends is."""
        self.num_processes = max(min(os.cpu_count() or 1, math.ceil(num_videos / _HEADERS_PER_PROCESS)), 1)
        self._timeout_s = timeout_s
        self._free: SimpleQueue[FrameReader | None] = SimpleQueue()
        for _ in range(self.num_processes):
            self._free.put(None)

    def facts(self, path: Path) -> VideoFacts:
        """What `reader.probe` says of a file; raises VideoError as it does.

        Call it from a thread that lives until all headers are read: the process is killed with it.
        """
        request = {"task": "facts", "path": str(checked_path(path)), "reader": "pyav"}
        process = self._free.get()
        try:
            if process is not None:
                process.ask(request)
                try:
                    return VideoFacts(**process.facts())
                except VideoError as error:
                    if not process.has_failed or error.reason == "timeout":
                        raise
                # what videos before this one did to the process may have ended it: a new one decides
                process.close()
            process = FrameReader(request, self._timeout_s, lambda: None)
            return VideoFacts(**process.facts())
        finally:
            if process is not None and process.has_failed:
                process.close()
                process = None
            self._free.put(process)

    def close(self) -> None:
        """Ends the processes; nothing may be reading."""
        for _ in range(self.num_processes):
            if (process := self._free.get()) is not None:
                process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
