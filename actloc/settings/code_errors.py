"""Reports the file and line of errors in code that is not part of actloc: they are not bugs in actloc."""

import contextlib
import inspect
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from actloc.errors import ActlocError, CodeError, DecoderBugError, Stopped, VideoError
from actloc.settings import own_code
from actloc.settings.own_code import Root


@contextlib.contextmanager
def blaming() -> Iterator[None]:
    """Turns errors raised in the user's code into CodeErrors; errors that actloc has a meaning for pass unchanged."""
    try:
        yield
    except (Exception, SystemExit) as error:  # a script among the files may end itself
        means_more = isinstance(error, ActlocError | VideoError | Stopped | MemoryError | OSError)
        if means_more and not isinstance(error, FileNotFoundError):
            raise
        blamed = code_error(error)
        if blamed is None:
            raise
        raise blamed from error


def code_error(error: BaseException) -> CodeError | None:
    """The error at the deepest line of the user's code on its way; None where no such code was on it."""
    if isinstance(error, DecoderBugError):  # which came through a generator of the user's, from another process
        return None
    if isinstance(error, SyntaxError) and error.filename:
        file = Path(error.filename)
        found = own_code.root_above(file)
        message = f"{type(error).__name__}: {error.msg}"
        return None if found is None else at_line(found, file, error.lineno or 1, message)
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        root = own_code.root_of(frame.f_globals.get("__name__", ""), frame.f_code.co_filename)
        if root is not None:
            function = "" if frame.f_code.co_name == "<module>" else f"in {frame.f_code.co_name}: "
            message = function + "".join(traceback.format_exception_only(error)).strip()
            return at_line(root, Path(frame.f_code.co_filename), line, message, fix=_fix(root, error))
    return None


def wrong_return(value: Any, expected: str, *methods: Callable[..., Any]) -> Exception:  # Any: whatever was returned
    """The error of a part that returned something else than its contract says.

    It names the first of `methods` that is not actloc's own: a method that a part does not define is inherited.
    """
    for method in methods:
        function = inspect.unwrap(getattr(method, "__func__", method))
        file, line = function.__code__.co_filename, function.__code__.co_firstlineno
        root = own_code.root_of(function.__module__, file)
        if root is not None:
            message = f"{function.__qualname__} returned {_described(value)}."
            return at_line(root, Path(file), line, message, f"Expected {expected}.")
    return AssertionError(f"{methods[-1].__qualname__} returned {_described(value)}, expected {expected}")


def at_line(root: Root, file: Path, line: int, message: str, expected: str = "", fix: str = "") -> CodeError:
    """The error with `message` at a line of code that belongs to `root`."""
    if root.kind == "distribution":
        whose, usual = (
            f"the package {root.given}",
            "Report it to the authors of the package, or install another version.",
        )
    else:
        whose, usual = f"your own code, {root.option} {root.given}", "Correct it, then run the same command again."
    found = f"{own_code.shown(file)}:{line}: {message}"
    return CodeError(found, f"{expected} The error is in {whose}; it is not in actloc.".strip(), fix or usual)


def _described(value: Any) -> str:  # Any: whatever a part returned
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    if isinstance(value, dict):
        inside = ", ".join(f"{key}: {_described(inner)}" for key, inner in value.items())
        return f"a dict {{{inside}}}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a {type(value).__name__}"


def _fix(root: Root, error: BaseException) -> str:
    """What to do for a file that was named alone and imports another file of the same folder."""
    wanted = error.name if isinstance(error, ImportError) else None
    if root.kind == "file" and wanted is not None and (root.folder / f"{wanted}.py").is_file():
        return f"Name the folder, so that its files find each other: --code {own_code.shown(root.folder)}"
    return ""
