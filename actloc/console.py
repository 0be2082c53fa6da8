"""What the user sees: results on stdout, everything else on stderr; JSON lines with --json."""

import difflib
import json
import re
import sys
import time
import traceback as tracebacks
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SECONDS_BETWEEN_PLAIN_LINES = 30.0
_MOST_LINES = 20
_WIDEST = 10_000  # columns of a table in a file

stdout = Console(highlight=False, soft_wrap=True, emoji=False)
stderr = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
_json_lines = False
_silent = False
_verbosity: Literal["quiet", "usual", "verbose"] = "usual"
_debugging = False


def use_json_lines() -> None:
    """From now on stdout has one JSON object per line and nothing else."""
    global _json_lines  # noqa: PLW0603 - the output form of a process is one fact, set once by the command line
    _json_lines = True


def set_verbosity(verbosity: Literal["quiet", "usual", "verbose"]) -> None:
    """quiet: errors and results only; verbose: also `detail`."""
    global _verbosity  # noqa: PLW0603 - as above: one fact of the process
    _verbosity = verbosity


def use_tracebacks() -> None:
    """From now on errors show where in the code they happened."""
    global _debugging  # noqa: PLW0603 - as above
    _debugging = True


def is_debugging() -> bool:
    """Whether errors show where in the code they happened."""
    return _debugging


def be_quiet(quiet: bool) -> None:
    """Silences this process, or lets it print again; of several processes on one job only one prints."""
    global _silent  # noqa: PLW0603 - as above
    _silent = stdout.quiet = stderr.quiet = quiet


def clean(text: object) -> str:
    """Foreign text without control characters, which could redraw a terminal, and with Rich markup made harmless."""
    return escape(_CONTROL.sub("", str(text)))


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 video`, `2 videos`: how many there are, in words."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def size(num_bytes: float) -> str:
    """`12.3 GB`, `45 MB`, `678 kB` or `9 bytes`: a size in the unit that leaves no zero."""
    units = (("GB", 1e9, 1), ("MB", 1e6, 0), ("kB", 1e3, 0))
    for unit, unit_bytes, digits in units:
        if num_bytes >= unit_bytes:
            return f"{num_bytes / unit_bytes:.{digits}f} {unit}"
    return count(round(num_bytes), "byte")


def first_ten(names: Iterable[object]) -> str:
    """`a, b, c`, and dots after the tenth."""
    listed = [str(name) for name in names]
    return ", ".join(listed[:10]) + (", ..." if len(listed) > 10 else "")


def first_lines(lines: Iterable[object]) -> str:
    """One indented line for each, twenty at most, and how many more there are."""
    listed = [str(line) for line in lines]
    more = [f"... and {len(listed) - _MOST_LINES} more"] if len(listed) > _MOST_LINES else []
    return "\n  ".join(listed[:_MOST_LINES] + more)


def nearest(name: str, names: Iterable[str], *, lists_known: bool = True) -> str:
    """`. Did you mean X?` for the closest of `names`; else the first ten of them, or a dot unless `lists_known`."""
    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f". Did you mean {close[0]}?"
    if not lists_known:
        return "."
    return f". Known: {first_ten(known)}" if known else ""


def say(text: object) -> None:
    """A line for the person watching, on stderr."""
    if _verbosity != "quiet":
        stderr.print(clean(text))


def detail(text: object) -> None:
    """A line that is shown only with --verbose, on stderr."""
    if _verbosity == "verbose":
        stderr.print(clean(text), style="dim")


def warn(text: object, **fields: Any) -> None:  # Any: JSON values
    """A warning on stderr, and an event in JSON mode."""
    if _verbosity != "quiet":
        stderr.print(f"[yellow]Warning:[/yellow] {clean(text)}")
    emit("warning", message=str(text), **fields)


def error(text: object) -> None:
    """What went wrong, on stderr; --quiet does not hide it."""
    stderr.print(clean(text), style="red")


def traceback() -> None:
    """The traceback of the error that is being handled, on stderr."""
    stderr.print(clean(tracebacks.format_exc().rstrip()))


def result(text: object) -> None:
    """A line of the command's result, on stdout; left out in JSON mode."""
    if not _json_lines:
        stdout.print(clean(text))


def result_text(text: str) -> None:
    """Text for a file or another program, on stdout letter by letter but for control characters."""
    if not (_json_lines or stdout.quiet):
        sys.stdout.write(f"{_CONTROL.sub('', text).rstrip()}\n")


def result_table(table: Table, otherwise: Sequence[str] = ()) -> None:
    """A table of the command's result, on stdout, in a file or a pipe as wide as it is; left out in JSON mode.

    On a terminal that is too narrow, the lines of `otherwise`, if there are some.
    """
    if _json_lines or stdout.quiet:
        return
    width = Measurement.get(stdout, stdout.options.update(max_width=_WIDEST), table).maximum
    if not stdout.is_terminal:
        Console(highlight=False, soft_wrap=True, emoji=False, width=width).print(table)
    elif width > stdout.width and otherwise:
        for line in otherwise:
            stdout.print(clean(line))
    else:
        stdout.print(table)


def emit(event: str, **fields: Any) -> None:  # Any: JSON values
    """One JSON object on stdout, flushed at once; nothing outside JSON mode."""
    if _json_lines and not _silent:
        # ASCII, because a stream that is not UTF-8 would write what JSON does not have, and no text ends a line
        sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
        sys.stdout.flush()


class Reporter(Protocol):
    """What long work calls to show how far it is."""

    def __call__(self, advance: float = 0, note: str = "") -> None:
        """Moves on by `advance` units; `note` is shown next to the bar."""


@contextmanager
def progress(title: str, total: float, *, is_count: bool = True, done: float = 0.0) -> Iterator[Reporter]:
    """A bar with time left on a terminal; elsewhere a plain line every 30 s.

    What is not a count is shown in percent. `done` was done before, in another time. With --quiet nothing is shown.
    """
    if _verbosity == "quiet":
        yield lambda advance=0, note="": None
    elif stderr.is_terminal:
        with _bar(is_count) as bar:
            task = bar.add_task(clean(title), total=total, note="")
            bar.update(task, completed=done)

            def move(advance: float = 0, note: str = "") -> None:
                bar.advance(task, advance)
                if note:
                    bar.update(task, note=clean(note))

            yield move
    else:
        yield _plain_lines(title, total, is_count, done)


def _bar(is_count: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn() if is_count else TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=stderr,
    )


def duration(seconds: float) -> str:
    """`0:05:01` or `26:00:00`: hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _plain_lines(title: str, total: float, is_count: bool, before: float) -> Reporter:
    started = last_line = time.monotonic()
    done = before

    def move(advance: float = 0, note: str = "") -> None:
        nonlocal done, last_line
        done += advance
        now = time.monotonic()
        if now - last_line >= _SECONDS_BETWEEN_PLAIN_LINES:
            last_line = now
            new = done - before
            left = f", about {duration((now - started) / new * (total - done))} left" if new else ""
            so_far = f"{done:.0f} of {total:.0f}" if is_count else f"{done / total:.0%}"
            say(f"{title}: {so_far}{left}{note and f', {note}'}")

    return move
