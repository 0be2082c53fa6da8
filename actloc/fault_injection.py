"""The one hook through which tests make the n-th file operation, decoded video or training step fail.

`ACTLOC_FAULT=<op>:<n>:<what>`, for example `replace:3:kill` or `write:2:ENOSPC`.
Counts are per process, from 1. Without the variable, each call costs one comparison.
"""

import errno
import os
import signal
import time
from collections import Counter
from typing import Literal

Operation = Literal["read", "write", "fsync", "replace", "mkdir", "open", "decode", "step"]

_VARIABLE = "ACTLOC_FAULT"
_calls: Counter[str] = Counter()


def reset() -> None:
    """Counts from 1 again, for the next fault in the same process."""
    _calls.clear()


def inject(operation: Operation) -> str | None:
    """Counts one `operation`; at the chosen one raises, kills, or returns `hang` or `nan` for the caller to act on."""
    wanted = os.environ.get(_VARIABLE)
    if not wanted:
        return None
    name, number, what = wanted.split(":")
    _calls[operation] += 1
    if name != operation or _calls[operation] != int(number):
        return None
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)  # the signal arrives before this ends
    if what == "term":
        os.kill(os.getpid(), signal.SIGTERM)
        return None
    if what in ("hang", "nan"):
        return what
    code = getattr(errno, what)
    raise OSError(code, os.strerror(code), f"{_VARIABLE}={wanted}")
