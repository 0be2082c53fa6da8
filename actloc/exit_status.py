"""Runs a command and turns whatever it meets into an exit status (reliability, section 2)."""

import errno
import importlib
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable

import typer

from actloc import console
from actloc.errors import ActlocError, Stopped, VideoError

_ENVIRONMENT = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM),
}

_WRONG_PATHS = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}


def run_on(
    command: str,
    config: str,
    overrides: list[str] | None,
    *,
    check_inputs: bool = False,
    as_json: bool = False,
    **arguments: object,
) -> None:
    """Runs `actloc/commands/<command>.py` on an experiment; the settings are checked before torch is imported."""

    def work() -> int:
        from actloc.experiment import load

        experiment = load(config, overrides, check_inputs=check_inputs)
        return int(importlib.import_module(f"actloc.commands.{command}").run(experiment, **arguments))

    finish(work, as_json)


def finish(work: Callable[[], int], as_json: bool = False) -> None:
    """Runs a command and turns what it meets into the exit status that reliability section 2 promises."""
    if as_json:
        console.use_json_lines()
    status = _status_of(work)
    sys.stdout.flush()
    sys.stderr.flush()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        os._exit(status)  # gloo's threads can abort a process that is taken down in order, when all is written
    raise typer.Exit(status)


def _status_of(work: Callable[[], int]) -> int:
    try:
        return work()
    except ActlocError as error:
        return _fail(str(error), error.status)
    except (Stopped, KeyboardInterrupt) as stopped:
        number = stopped.signal_number if isinstance(stopped, Stopped) else signal.SIGINT
        console.say(f"Stopped by {signal.Signals(number).name}; the same command goes on from what is written.")
        return 128 + number
    except VideoError as error:
        return _fail(str(error), 2)
    except Exception as error:
        return _status_of_system(error)


def _status_of_system(error: Exception) -> int:
    """What the operating system refused, or a bug of ours."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EPIPE:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # `actloc ls | head -1` has seen enough
        return 0
    if number in _WRONG_PATHS:
        return _fail(f"{error}.\n  Check that path: it is a file, a folder or a name that cannot be used there.", 2)
    if number in _ENVIRONMENT or isinstance(error, MemoryError):
        told = str(error) or "Out of memory"
        return _fail(f"{told}.\n  Free space or memory, or mend the permission, then run the same command again.", 4)
    return _bug()


def _fail(message: str, status: int) -> int:
    console.say(message, style="red")
    console.emit("error", message=message, status=status)
    return status


def _bug() -> int:
    """Status 1: one line for the user, the traceback in a file."""
    descriptor, name = tempfile.mkstemp(prefix="actloc-", suffix=".txt")
    with os.fdopen(descriptor, "w") as stream:
        traceback.print_exc(file=stream)
    last_line = traceback.format_exc().strip().rpartition("\n")[2]
    return _fail(f"This is a bug in actloc: {last_line}\n  Please report it with {name}", 1)
