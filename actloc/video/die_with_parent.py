"""`python -m actloc.video.die_with_parent PROGRAM ARGUMENTS` becomes PROGRAM, which the kernel kills with its parent.

No decoder then outlives a command that was killed. Outside Linux, the program ends when its pipe to the parent breaks.
"""

import contextlib
import ctypes
import os
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>; survives exec


def die_with_parent() -> None:
    """Asks the kernel to kill this process when the thread that started it ends, for whatever reason."""
    parent = os.getppid()
    with contextlib.suppress(OSError, AttributeError):  # no prctl outside Linux
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died in between
        os._exit(1)


if __name__ == "__main__":
    die_with_parent()
    os.execv(sys.argv[1], sys.argv[1:])
