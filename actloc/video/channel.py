"""A decoding process's side of its pipe: messages to the parent, errors as messages, and its end with the parent.

A message is a kind (1 byte), a count and a size (4 bytes each, little endian), then `size` bytes. The kinds of all
decoding processes:

P  nothing: still decoding                           X  JSON: a VideoError
B  JSON: the traceback of a bug in actloc            C  JSON: a CodeError from the user's own step
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import IO, Any

import av

from actloc.errors import UserError, VideoError
from actloc.settings.code_errors import blaming
from actloc.video.base import MESSAGE
from actloc.video.die_with_parent import die_with_parent

_SECONDS_BETWEEN_SIGNS_OF_LIFE = 1.0


class Channel:
    """Sends messages to the parent process."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._last_s = time.monotonic()
        self.has_begun = False
        """Whether the first frame has been announced."""

    def send(self, kind: bytes, content: bytes | memoryview = b"", count: int = 0) -> None:
        """Sends one message."""
        self._stream.write(MESSAGE.pack(kind, count, len(content)))
        self._stream.write(content)
        self._stream.flush()
        self._last_s = time.monotonic()
        self.has_begun |= kind == b"S"

    def send_json(self, kind: bytes, **fields: Any) -> None:  # Any: JSON values
        """Sends one message whose content is a JSON object."""
        self.send(kind, json.dumps(fields).encode())

    def report_progress(self) -> None:
        """Reports to the parent, at most once a second, that decoding continues, even if no frame is due yet."""
        if time.monotonic() - self._last_s > _SECONDS_BETWEEN_SIGNS_OF_LIFE:
            self.send(b"P")


def open_channel() -> Channel:
    """Protects this process, and opens its stdout as the channel."""
    die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):  # the parent decides when to stop
        signal.signal(number, signal.SIG_IGN)
    channel = Channel(os.fdopen(os.dup(1), "wb"))
    for descriptor in (1, 2):  # what a library prints must not reach the channel or fill the stderr pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    av.logging.set_level(None)
    return channel


def received_requests() -> "SimpleQueue[dict[str, Any]]":  # Any: JSON values
    """The parent's requests as they come, a line of JSON each; the process ends once the parent closes the pipe."""
    requests: SimpleQueue[dict[str, Any]] = SimpleQueue()  # Any: as above

    def receive() -> None:
        for line in sys.stdin.buffer:
            requests.put(json.loads(line))
        os._exit(1)  # the parent has closed the pipe or died

    threading.Thread(target=receive, daemon=True).start()
    return requests


@contextmanager
def reporting(channel: Channel) -> Iterator[None]:
    """Sends errors to the parent; exits if it has closed the pipe."""
    try:
        with blaming():
            yield
    except BrokenPipeError:
        os._exit(0)
    except UserError as error:
        channel.send_json(b"C", found=error.found, expected=error.expected, fix=error.fix)
    except VideoError as error:
        channel.send_json(b"X", reason=error.reason, detail=error.detail, expected=error.expected, found=error.found)
    except MemoryError:  # the file's pictures are too large, wherever the allocation failed
        channel.send_json(b"X", reason="unreadable", detail="out of memory", expected="smaller pictures", found="")
    except Exception:
        channel.send_json(b"B", traceback=traceback.format_exc())
