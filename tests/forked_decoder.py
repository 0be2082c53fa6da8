"""A decoding process forked from one that has imported everything, in place of a new interpreter for each video.

What it does from then on is what `python -m actloc.video.decode` does; that this starts is for tests/video to show.
"""

import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

from actloc.video import base, decode, reader
from actloc.video.readers import ffmpeg, images, pyav  # noqa: F401 - imported for the children


def decode_in_fork(*streams: int) -> int:
    """Forks a decoder whose stdin, stdout and stderr are these descriptors; its process id."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        for target, descriptor in enumerate(streams):
            os.dup2(descriptor, target)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        decode.main()
    return pid


def exit_status_of(pid: int) -> int:
    """Waits for the end of a child."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class ForkedDecoder:
    """What the reader uses of subprocess.Popen."""

    def __init__(self, fork: Callable[[int, int, int], int], exit_status: Callable[[int], int]) -> None:
        (request, to_decoder), (from_decoder, answer), (complaint, error) = os.pipe(), os.pipe(), os.pipe()
        self.pid = fork(request, answer, error)
        for theirs in (request, answer, error):
            os.close(theirs)
        self.stdin = os.fdopen(to_decoder, "wb")
        self.stdout, self.stderr = os.fdopen(from_decoder, "rb"), os.fdopen(complaint, "rb")
        self.returncode: int | None = None
        self._exit_status = exit_status

    def wait(self, timeout: float | None = None) -> int:
        """The exit status; the reader asks for it once the decoder's pipe is closed, or it was killed."""
        if self.returncode is None:
            self.returncode = self._exit_status(self.pid)
        return self.returncode

    def kill(self) -> None:
        """Ends it, unless its end is known."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)


class ForkingSubprocess:
    """The module subprocess, but for the start of a decoder."""

    def __init__(
        self,
        fork: Callable[[int, int, int], int] = decode_in_fork,
        exit_status: Callable[[int], int] = exit_status_of,
    ) -> None:
        self._how = fork, exit_status

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    def Popen(self, command: list[str], **options: Any) -> Any:  # noqa: N802 - the name it stands in for
        """A process of `command`."""
        if command == base.python_command("decode"):
            return ForkedDecoder(*self._how)
        return subprocess.Popen(command, **options)


def fork_decoders() -> None:
    """From now on this process forks its decoders."""
    reader.subprocess = ForkingSubprocess()  # type: ignore[assignment]
