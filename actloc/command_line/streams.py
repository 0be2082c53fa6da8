"""Standard streams that a command can rely on: all are there, and a reader that goes away does not end the work."""

import errno
import io
import os
import sys
from typing import Any


class _Pipe(io.FileIO):
    """A stream that goes on without a reader: `actloc extract-features CONFIG --json | head -1` extracts everything."""

    def write(self, data: Any, /) -> int:  # Any: what has a buffer
        """Writes `data`, or drops it once nobody reads it any more."""
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EBADF):  # the second if it was opened for reading
                raise
            return memoryview(data).nbytes


def make_reliable() -> None:
    """Opens the streams that the caller closed, and wraps stdout and stderr; every name can be written to them."""
    for descriptor in range(3):  # else the next file that is opened would be taken for a stream
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - a stream, for the whole process
    sys.stdout = _reliable(sys.stdout, 1)
    sys.stderr = _reliable(sys.stderr, 2)


def _reliable(
    stream: Any, descriptor: int
) -> Any:  # Any: a text stream, a test's stand-in, or None where it was closed
    if stream is not None and not (isinstance(stream, io.TextIOWrapper) and stream.fileno() == descriptor):
        return stream
    if stream is not None:
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Pipe(descriptor, "w", closefd=False)),
        encoding=stream.encoding if stream is not None else "utf-8",
        errors="backslashreplace",  # a terminal that is not UTF-8 still shows every name
        line_buffering=os.isatty(descriptor) or descriptor == 2,  # stderr never waits
    )


def flush() -> bool:
    """Writes what is buffered; returns whether it could be written. What is not can then not fail a second time."""
    is_written = True
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            is_written = False
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return is_written
