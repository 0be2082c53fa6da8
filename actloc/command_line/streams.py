"""Standard streams that a command can rely on: all are there, and a reader that goes away does not end the work."""

import errno
import io
import os
import sys
from typing import Any


class _Pipe(io.FileIO):
    """A stream that goes on without a reader: `actloc extract-features CONFIG --json | head -1` extracts everything."""

    loss: OSError | None = None
    """Why something that somebody wants to read was not written, such as a full disk."""

    def write(self, data: Any, /) -> int:  # Any: what has a buffer
        """Writes `data`, or drops it if that fails: what the command works on matters more."""
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EBADF):  # nobody reads it; it was opened for reading
                self.loss = self.loss or error
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


def flush() -> OSError | None:
    """Writes what is buffered; returns why something that was meant for stdout is not written."""
    loss: OSError | None = None
    for stream in (sys.stderr, sys.stdout):
        loss = None
        try:
            stream.flush()
        except ValueError:  # it is closed
            continue
        except OSError as error:  # a stream that is not ours; what cannot be written must not fail a second time
            loss = error
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raw = getattr(getattr(stream, "buffer", None), "raw", None)
        loss = raw.loss if isinstance(raw, _Pipe) else loss
    return loss
