"""Decoders forked from a lean process that has imported what they need, in place of a new interpreter for each video.

What they do from then on is what `python -m actloc.video.decode` does; that this starts is for tests/video to show.
"""

import atexit
import contextlib
import functools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from actloc.video.base import python_command

ROOT = Path(__file__).parent.parent


@functools.cache
def decoder_server() -> str:
    """The address of this process's server, which is started on the first call and ends with this process."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind("")  # Linux picks a name that no file has
    listener.listen()
    lifeline, ours = os.pipe()
    command = [sys.executable, "-m", "tests.decoder_server", str(listener.fileno()), str(lifeline)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(command, env=environment, cwd=ROOT, pass_fds=[listener.fileno(), lifeline])
    address = listener.getsockname().decode("ascii")
    listener.close()
    os.close(lifeline)

    def end() -> None:
        os.close(ours)
        server.wait()

    atexit.register(end)
    return str(address)


class ForkedDecoder:
    """What the reader uses of subprocess.Popen."""

    def __init__(self, server: str) -> None:
        (request, to_decoder), (from_decoder, answer), (complaint, error) = os.pipe(), os.pipe(), os.pipe()
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server.connect(server)
        what = {"environment": dict(os.environ), "folder": str(Path.cwd())}
        socket.send_fds(self._server, [json.dumps(what).encode()], [request, answer, error])
        for theirs in (request, answer, error):
            os.close(theirs)
        self.stdin = os.fdopen(to_decoder, "wb")
        self.stdout, self.stderr = os.fdopen(from_decoder, "rb"), os.fdopen(complaint, "rb")
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """The exit status; the reader asks for it once the decoder's pipe is closed, or it was killed."""
        if self.returncode is None:
            self.returncode = json.loads(self._server.recv(1 << 10))
            self._server.close()
        return self.returncode

    def kill(self) -> None:
        """Has the server kill it, unless its end is known."""
        if self.returncode is None:
            with contextlib.suppress(OSError):  # it has ended
                self._server.shutdown(socket.SHUT_WR)


class ForkingSubprocess:
    """The module subprocess, but for the start of a decoder."""

    def __init__(self, server: str) -> None:
        self._server = server

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    def Popen(self, command: list[str], **options: Any) -> Any:  # noqa: N802 - the name it stands in for
        """A process of `command`."""
        if command == python_command("decode"):
            return ForkedDecoder(self._server)
        return subprocess.Popen(command, **options)
