"""Every error a user can meet, with the exit status the command line gives it.

ActlocError              three parts: what was found, what was expected, what to do
|- UserError             2  arguments, settings, annotations, features, refused overwrite
|  |- CodeError             an error in a file of --code, or in a package that announces parts
|  |- TooLongError          a video is longer than the detector takes; `eval` scores the others (status 3)
|  `- FeatureFileError      one video's features in a file of others (store/foreign_files.py)
|- EnvironmentProblem    4  disk, permissions, ffmpeg, a run locked by another process
`- NotFiniteError        5  a loss, gradient or weight became inf or nan

VideoError               one video could not be used; it is written to failed.jsonl and the others continue (status 3)
DecoderBugError          a bug of ours in the process that decodes a video; its note is that process's traceback (1)
Stopped                  a signal asked us to stop and everything is saved (128 + signal)
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

EXIT_SOME_INPUTS_FAILED = 3

VideoReason = Literal[
    "unreadable",
    "no_video_stream",
    "truncated",
    "damaged",
    "empty",
    "too_short",
    "not_a_file",
    "unsupported",
    "timeout",
    "non_finite",
    "out_of_range",
]


@dataclass(frozen=True)
class Problem:
    """One of several things that are wrong, and where: a line of a CSV, a place in a JSON, a setting."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class ActlocError(Exception):
    """Base of the errors that end a command with a message and without a traceback.

    A command in `fix` may contain `CONFIG [SETTINGS]`; `name_config` replaces them by what the user typed.
    """

    status = 1

    def __init__(self, found: str, expected: str, fix: str) -> None:
        super().__init__(found, expected, fix)
        self.found = found
        self.expected = expected
        self.fix = fix

    def name_config(self, config: str, settings: Sequence[str] = ()) -> None:
        """Puts the config and the settings that were typed into the command of `fix`."""
        typed = f" {shlex.join(settings)}" if settings else ""
        self.fix = self.fix.replace(" [SETTINGS]", typed).replace(" CONFIG", f" {shlex.quote(config)}")

    def __str__(self) -> str:
        return "\n  ".join(part for part in (self.found, self.expected, self.fix) if part)


class UserError(ActlocError):
    """The user's mistake: arguments, settings, annotations, an unreadable or wrong file, a refused overwrite."""

    status = 2


class CodeError(UserError):
    """An error in code that is not part of actloc; the message has its file and line."""


class TooLongError(UserError):
    """A video has more feature steps than the detector takes."""


class EnvironmentProblem(ActlocError):  # noqa: N818 - EnvironmentError is a builtin name
    """A problem of the machine: disk full, read-only, no ffmpeg, locked by another run."""

    status = 4


class NotFiniteError(ActlocError):
    """Training stopped because a loss, gradient or weight was not finite."""

    status = 5


class VideoError(Exception):
    """One video cannot be used; `reason` comes from the closed list of `failed.jsonl`."""

    def __init__(self, reason: VideoReason, detail: str, expected: str = "", found: str = "") -> None:
        super().__init__(reason, detail, expected, found)
        self.reason: VideoReason = reason
        self.detail = detail
        self.expected = expected
        self.found = found

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class DecoderBugError(Exception):
    """A bug of ours in a decoding process: the video is not at fault, so it ends the command as any other bug does.

    Its note is that process's own traceback, so that the report shows where it was.
    """

    def __init__(self, file: str, traceback: str) -> None:
        super().__init__(file, traceback)
        self.file = file
        self.add_note(f"In the process that decoded {file}:\n{traceback.strip()}")

    def __str__(self) -> str:
        return f"the decoding process of {self.file} failed"


class Stopped(Exception):  # noqa: N818 - not an error: the work was saved as asked
    """A signal asked the command to stop; its work so far is saved, unless it starts from the beginning next time.

    `is_agreed` where all processes of a job stop at the same place, and the first has saved the work of all.
    """

    def __init__(self, signal_number: int, *, is_saved: bool = True, is_agreed: bool = False) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
        self.is_saved = is_saved
        self.is_agreed = is_agreed
        self.status = 128 + signal_number
