"""Runs a command and prints, as its last line, what it took: so small a process that its own memory does not count.

What a process takes starts with the memory of the one that started it, which of a benchmark is large.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_POLL_S = 0.02


def main() -> None:
    """Runs the command in the arguments after the first; that one is empty, or a file whose first line ends it."""
    awaited, *command = sys.argv[1:]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    if awaited:
        _interrupt_once_written(process.pid, Path(awaited))
    _, status, used = os.wait4(process.pid, 0)  # with the processes that it waited for itself
    unit = 1 if sys.platform == "darwin" else 1024
    took = {
        "status": os.waitstatus_to_exitcode(status),
        "processor_s": used.ru_utime + used.ru_stime,
        "wall_s": time.monotonic() - started,
        "memory_mb": used.ru_maxrss * unit / 1024**2,
    }
    sys.stdout.write(json.dumps(took) + "\n")


def _interrupt_once_written(process: int, file: Path) -> None:
    """Asks the process to end once the file has a line, unless it has ended by then."""
    while os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        with contextlib.suppress(OSError):
            if b"\n" in file.read_bytes():
                os.kill(process, signal.SIGINT)
                return
        time.sleep(_POLL_S)


if __name__ == "__main__":
    main()
