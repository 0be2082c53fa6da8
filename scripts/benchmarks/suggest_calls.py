"""Commands of `scripts/bench suggest`, several at a time, each with a file for what it prints."""

import subprocess
import sys
from pathlib import Path
from threading import Lock
from typing import Self

_SHOWN = 15


class CallError(Exception):
    """A command that did not succeed, with the end of what it printed."""


class Calls:
    """Runs actloc; processes that are ended save what they have, and can be resumed."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends what runs, and starts nothing more."""
        with self._lock:
            self._is_over = True
            for process in self._running:
                process.terminate()

    def actloc(self, log: Path, *arguments: str) -> None:
        """Runs a command, and adds what it prints to `log`; raises CallError if its exit status is not 0."""
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "actloc", *arguments]
        with log.open("ab") as output:
            with self._lock:
                if self._is_over:
                    raise CallError("stopped")
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
                self._running.add(process)
            status = process.wait()
        with self._lock:
            self._running.discard(process)
        if status:
            last = "\n  ".join(log.read_text(errors="replace").splitlines()[-_SHOWN:])
            raise CallError(f"actloc {' '.join(arguments)}\nexit status {status}; the end of {log}:\n  {last}")
