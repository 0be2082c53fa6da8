"""A decoding process forked from one that has imported everything, in place of a new interpreter for each video.

What it does from then on is what `python -m actloc.video.decode` does; that this starts is for tests/video to show.
"""

import os
import signal
import subprocess
from typing import Any

from actloc.video import base, decode, reader
from actloc.video.readers import ffmpeg, images, pyav  # noqa: F401 - imported for the children


class ForkedDecoder:
    """What the reader uses of subprocess.Popen."""

    def __init__(self) -> None:
        request, self_to_child = os.pipe()
        child_to_self, answer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            for target, descriptor in enumerate((request, answer, os.open(os.devnull, os.O_WRONLY))):
                os.dup2(descriptor, target)
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            decode.main()
        os.close(request)
        os.close(answer)
        self.stdin, self.stdout = os.fdopen(self_to_child, "wb"), os.fdopen(child_to_self, "rb")
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """The exit status; a decoder that was told to end, or whose pipe is closed, has one at once."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode

    def kill(self) -> None:
        """Ends it, unless its end is known."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)


class _Subprocess:
    """The module subprocess, but for the start of a decoder."""

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    @staticmethod
    def Popen(command: list[str], **options: Any) -> Any:  # noqa: N802 - the name it stands in for
        """A process of `command`."""
        return ForkedDecoder() if command == base.python_command("decode") else subprocess.Popen(command, **options)


def fork_decoders() -> None:
    """From now on this process forks its decoders."""
    reader.subprocess = _Subprocess()  # type: ignore[assignment]
