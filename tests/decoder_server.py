"""A process that has imported what decoding needs, but no torch, and forks itself for each video: 3 ms, not 200.

Its arguments are the numbers of two descriptors: a Unix socket that listens, and a pipe at whose end it ends. Each
connection is one decoder: a JSON request comes with the decoder's stdin, stdout and stderr, and the answer, once the
decoder has ended, is its exit status. If the other end closes first, as when the process that asked dies, the decoder
is killed. From its start on, a decoder does what `python -m actloc.video.decode` does.
"""

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable

from actloc.video import decode
from actloc.video.readers import ffmpeg, images, pyav  # noqa: F401 - imported for the children


def decode_in_fork(environment: dict[str, str], folder: str, streams: list[int]) -> int:
    """Forks a decoder whose stdin, stdout and stderr are these descriptors; its process id."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        for target, descriptor in enumerate(streams):
            os.dup2(descriptor, target)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        decode.main()
    return pid


class Server:
    """Waits for connections, for their ends and for the ends of decoders, all at once."""

    def __init__(self, listener: socket.socket, lifeline: int) -> None:
        self._waiting = selectors.DefaultSelector()
        self._listener = listener
        self._on(listener, self._accept)
        self._on(lifeline, sys.exit)

    def serve(self) -> None:
        """Answers until the lifeline ends."""
        while True:
            key, _ = self._waiting.select()[0]  # one at a time: it may close what the next is about
            key.data()

    def _on(self, file: socket.socket | int, action: Callable[[], None]) -> None:
        self._waiting.register(file, selectors.EVENT_READ, action)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        self._on(connection, lambda: self._start(connection))

    def _start(self, connection: socket.socket) -> None:
        self._waiting.unregister(connection)
        message, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        if not message:
            connection.close()
            return
        decoder = decode_in_fork(**json.loads(message), streams=streams)
        for descriptor in streams:
            os.close(descriptor)
        ended = os.pidfd_open(decoder)
        self._on(connection, lambda: self._kill(connection, ended))
        self._on(ended, lambda: self._report(connection, ended, decoder))

    def _kill(self, connection: socket.socket, ended: int) -> None:
        self._waiting.unregister(connection)
        signal.pidfd_send_signal(ended, signal.SIGKILL)

    def _report(self, connection: socket.socket, ended: int, decoder: int) -> None:
        status = os.waitstatus_to_exitcode(os.waitpid(decoder, 0)[1])
        self._waiting.unregister(ended)
        os.close(ended)
        with contextlib.suppress(KeyError):  # the decoder was killed from here
            self._waiting.unregister(connection)
        with contextlib.suppress(BrokenPipeError):  # whoever asked is dead
            connection.send(json.dumps(status).encode())
        connection.close()


if __name__ == "__main__":
    gc.freeze()  # children leave the pages of what is imported shared
    Server(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])).serve()
