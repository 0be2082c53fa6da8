"""Runs a command and turns every outcome into an exit status and a message.

0 done, 1 a bug of ours, 2 the user's input, 3 some inputs failed, 4 the machine, 5 a number was not finite,
128 + N stopped by signal N.
"""

import errno
import importlib
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from actloc import console
from actloc.errors import ActlocError, Stopped, VideoError
from actloc.settings import own_code
from actloc.settings.code_errors import code_error

_ENVIRONMENT = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM),
}

_WRONG_PATHS = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}


def run_on(
    command: str,
    config: str,
    overrides: Sequence[str] | None,
    code: Sequence[Path] | None = None,
    *,
    check_inputs: bool = False,
    **arguments: object,
) -> int:
    """Runs `actloc/commands/<command>.py` on an experiment; the settings are checked before torch is imported."""
    from actloc.experiment import load
    from actloc.settings import parts

    overrides = list(overrides or ())
    try:
        parts.use_code(code or ())
        experiment = load(config, overrides, check_inputs=check_inputs)
        parts.warn_of_unused_code()
        return int(importlib.import_module(f"actloc.commands.{command}").run(experiment, **arguments))
    except ActlocError as error:
        error.name_config(config, [*overrides, *own_code.options()])
        raise


def finish(work: Callable[[], int]) -> int:
    """The exit status of `work`, whatever happens; all output is written when this returns."""
    started = time.monotonic()
    status = _status_of(work)
    took = os.times()
    cpu_s = took.user + took.system + took.children_user + took.children_system
    console.detail(f"Took {time.monotonic() - started:.1f} s, and {cpu_s:.1f} s of CPU time")
    sys.stdout.flush()
    sys.stderr.flush()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        os._exit(status)  # everything is written, and gloo's threads can abort a process that exits normally
    return status


def _status_of(work: Callable[[], int]) -> int:
    try:
        return work()
    except typer.Exit as end:  # --help and --version
        return end.exit_code
    except ActlocError as error:
        return fail(error)
    except (Stopped, KeyboardInterrupt) as stopped:
        number = stopped.signal_number if isinstance(stopped, Stopped) else signal.SIGINT
        console.say(f"Stopped by {signal.Signals(number).name}. Run the same command again to continue.")
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
    # torch says so of a GPU by a class of its own, of a CPU in words
    is_out_of_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if number in _ENVIRONMENT or is_out_of_memory or "can't allocate memory" in str(error):
        what = str(error) or "Out of memory"
        return _fail(f"{what}.\n  Free space or memory, or fix the permissions, then run the same command again.", 4)
    blamed = code_error(error)
    return _bug() if blamed is None else fail(blamed)


def fail(error: ActlocError) -> int:
    """Prints the error; returns its exit status."""
    error.name_config("CONFIG")  # if none was typed
    return _fail(str(error), error.status)


def _fail(message: str, status: int) -> int:
    """Prints an error, after its traceback where --debug asks for it."""
    if console.is_debugging():
        console.traceback()
    console.error(message)
    console.emit("error", message=message, status=status)
    return status


def _bug() -> int:
    """Status 1: one line for the user, the traceback in a file, or on the screen with --debug."""
    last_line = traceback.format_exc().strip().rpartition("\n")[2]
    own = own_code.imported_parts()
    whose = f"actloc, or in your own {' or '.join(own)}" if own else "actloc"
    report = "If it is not in your code, please report it with" if own else "Please report it with"
    if console.is_debugging():
        return _fail(f"This is a bug in {whose}: {last_line}\n  {report} the traceback above.", 1)
    descriptor, name = tempfile.mkstemp(prefix="actloc-", suffix=".txt")
    with os.fdopen(descriptor, "w") as stream:
        traceback.print_exc(file=stream)
    return _fail(f"This is a bug in {whose}: {last_line}\n  {report} {name}", 1)
