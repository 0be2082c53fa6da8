"""Runs a command and turns every outcome into an exit status and a message.

0 done, 1 a bug of ours, 2 the user's input, 3 some inputs failed, 4 the machine, 5 a number was not finite,
128 + N stopped by signal N.
"""

import errno
import importlib
import os
import re
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer

from actloc import console, files
from actloc.command_line import streams
from actloc.errors import ActlocError, EnvironmentProblem, Stopped, VideoError
from actloc.settings import own_code
from actloc.settings.code_errors import code_error
from actloc.signals import Interrupted, interrupting

_CURES = {
    "Free space on that disk": (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    "Fix the permissions": (errno.EACCES, errno.EPERM, errno.EROFS),
    "Raise the limit of open files, such as: ulimit -n 4096": (errno.EMFILE, errno.ENFILE),
    "Check the disk, or the network that it is on": (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EREMOTEIO),
    "Free memory": (errno.ENOMEM, errno.EAGAIN),
}
"""What to do about errors of the system that are no fault of what was typed."""
_LESS_MEMORY = {
    "extract_features": "machine.clip_batch=1, machine.decoders=1",
    "train": "training.batch_size=1 with training.accumulate=N for the same steps, features.max_steps, "
    "machine.num_workers=0; --dry-run reports the memory of a step",
    "evaluate": "machine.clip_batch=1, features.window_steps=N",
    "predict": "machine.clip_batch=1, features.window_steps=N",
    "suggest": "machine.clip_batch=1, features.window_steps=N",
    "explain": "machine.clip_batch=1, features.window_steps=N",
    "watch": "machine.clip_batch=1",
}
"""The settings of each command that lower the memory it needs."""
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

    overrides, experiment = list(overrides or ()), None
    try:
        parts.use_code(code or ())
        experiment = load(config, overrides, check_inputs=check_inputs)
        parts.warn_of_unused_code()
        return int(importlib.import_module(f"actloc.commands.{command}").run(experiment, **arguments))
    except ActlocError as error:
        error.name_config(config, [*overrides, *own_code.options()])
        raise
    except Exception as error:
        settings = _less_memory(command, experiment) if _is_out_of_memory(error) else ""
        if not settings:
            raise
        raise EnvironmentProblem(
            f"Out of memory: {str(error).strip() or type(error).__name__}",
            f"Expected enough memory for the settings; these lower what is needed: {settings}.",
            "Set one of them, or free memory, then run the same command again.",
        ) from error


def finish(work: Callable[[], int]) -> int:
    """The exit status of `work`, whatever happens; all output is written when this returns."""
    started = time.monotonic()
    status = _status_of(work)
    took = os.times()
    cpu_s = took.user + took.system + took.children_user + took.children_system
    console.detail(f"Took {time.monotonic() - started:.1f} s, and {cpu_s:.1f} s of CPU time")
    loss = streams.flush()
    if loss is not None and status == 0:
        cure = _cure(loss) or "Check where it goes"
        status = _fail(f"Could not write all results to stdout: {loss.strerror}.\n  {cure}, then run it again.", 4)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        os._exit(status)  # everything is written, and gloo's threads can abort a process that exits normally
    return status


def _status_of(work: Callable[[], int]) -> int:
    try:
        with interrupting():
            return work()
    except typer.Exit as end:  # --help and --version
        return end.exit_code
    except ActlocError as error:
        return fail(error)
    except (Stopped, KeyboardInterrupt) as stopped:
        number = stopped.signal_number if isinstance(stopped, Stopped | Interrupted) else signal.SIGINT
        is_saved = isinstance(stopped, Stopped) and stopped.is_saved
        again = f"Run the same command again{' to continue' if is_saved else ''}."
        left = again if files.has_written() else "Nothing was written."
        console.say(f"Stopped by {signal.Signals(number).name}. {left}")
        return 128 + number
    except VideoError as error:
        return _fail(str(error), 2)
    except Exception as error:
        return _status_of_system(error)


def _status_of_system(error: Exception) -> int:
    """What the operating system refused, or a bug of ours."""
    number = error.errno if isinstance(error, OSError) else None
    if number in _WRONG_PATHS:
        return _fail(f"{error}.\n  Check that path: it is a file, a folder or a name that cannot be used there.", 2)
    cure = _cure(error)
    if cure or _is_out_of_memory(error):
        what = str(error) or "Out of memory"
        return _fail(f"{what}.\n  {cure or 'Free memory'}, then run the same command again.", 4)
    blamed = code_error(error)
    return _bug() if blamed is None else fail(blamed)


def _cure(error: Exception) -> str | None:
    number = error.errno if isinstance(error, OSError) else None
    return next((cure for cure, numbers in _CURES.items() if number in numbers), None)


def _is_out_of_memory(error: Exception) -> bool:
    """Whether there was too little memory: torch says so of a GPU by a class of its own, of a CPU in words."""
    names = {base.__name__ for base in type(error).__mro__}
    words = "can't allocate memory", "out of memory", "ALLOC_FAILED"
    is_torchs = isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    return isinstance(error, MemoryError) or "OutOfMemoryError" in names or is_torchs


def _less_memory(command: str, experiment: Any) -> str:  # Any: an Experiment, or None where it was not loaded
    """The settings of this experiment that lower the memory that the command needs."""
    if experiment is None or command not in _LESS_MEMORY:
        return ""
    listed = _LESS_MEMORY[command]
    return listed if "features" in experiment.sections else re.sub(r",? features\.\w+(=N)?", "", listed)


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
    try:
        descriptor, name = tempfile.mkstemp(prefix="actloc-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
            traceback.print_exc(file=stream)
    except OSError:  # no folder for temporary files can be written
        console.traceback()
        name = "the traceback above"
    return _fail(f"This is a bug in {whose}: {last_line}\n  {report} {name}", 1)
