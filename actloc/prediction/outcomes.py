"""The output folder of `predict`: what its results were made with, and one file for the outcome of each video.

Each file is written whole, so that a killed command leaves finished videos, and the same command goes on with the
others. Several shards may write into one folder at the same time.
"""

import json
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from actloc import console, files
from actloc.errors import UserError
from actloc.evaluation.results import Record
from actloc.prediction import tool_files
from actloc.prediction.base import MadeWith
from actloc.prediction.inputs import absolute
from actloc.reports import outputs
from actloc.settings import sameness

RECORD_NAME = "made_with.json"
_FOLDER = "by_video"
_SUFFIX = ".json"


@dataclass(frozen=True)
class VideoState:
    """What changes when a video is replaced."""

    bytes: int
    modified_ns: int

    @classmethod
    def of(cls, video: Path) -> "VideoState":
        """That of a file, or of all files of a folder of frames; zeros if there is nothing."""
        try:
            found = [one.stat() for one in (video.iterdir() if video.is_dir() else [video])]
        except OSError:
            return cls(0, 0)
        return cls(sum(one.st_size for one in found), max((one.st_mtime_ns for one in found), default=0))


@dataclass(frozen=True)
class Outcome:
    """What became of a video: a result, or the row of `failed.jsonl` that says why there is none."""

    id: str
    path: str
    """From the output folder, so that both can be moved or copied together."""
    state: VideoState
    failure: dict[str, Any] | None = None  # Any: JSON values
    result: Any = None
    """JSON values, or the task's own form once it is read as such."""

    def is_of(self, video: Path) -> bool:
        """Whether it is a result of the video as it is now."""
        return self.failure is None and self.state == VideoState.of(video)


class Outcomes:
    """The outcomes in a folder."""

    def __init__(self, output: Path, form: type[Record] | None = None) -> None:
        """`form` is that of the task's results; without it they stay JSON values."""
        self.output = output
        self._folder = output / _FOLDER
        self._form = form
        self._warned: set[Path] = set()

    def write(self, video_id: str, video: Path, state: VideoState, result: Record | None, failure: Any = None) -> None:
        """Stores the outcome of a video in place of an earlier one."""
        content = {
            "id": video_id,
            "path": os.path.relpath(absolute(video), absolute(self.output)),
            **asdict(state),
            "failure": failure,
            "result": None if result is None else result.model_dump(mode="json"),
        }
        files.write_text(self._file(video_id), files.json_line(content) + "\n")

    def find(self, video_id: str) -> Outcome | None:
        """The outcome of a video; None if there is none, or a damaged file, which a warning names."""
        file = self._file(video_id)
        return self._read(file) if file.is_file() else None

    def all(self) -> Iterator[Outcome]:
        """Every outcome, in the order of the names of their files."""
        for file in sorted(self._folder.glob(f"*{_SUFFIX}")) if self._folder.is_dir() else ():
            outcome = self._read(file)
            if outcome is not None:
                yield outcome

    def recorded(self) -> dict[str, str]:
        """The ids of the videos that have an outcome, by absolute path."""
        return {absolute(self.output / outcome.path): outcome.id for outcome in self.all()}

    def remove(self) -> None:
        """Deletes every outcome; other files stay."""
        for outcome in list(self.all()):
            files.remove(self._file(outcome.id))

    def _read(self, file: Path) -> Outcome | None:
        outcome = _parsed(file, self._form)
        if outcome is None and file not in self._warned:
            self._warned.add(file)
            console.warn(f"{file} is damaged, so it does not count: its video is predicted again when it is named")
        return outcome

    def _file(self, video_id: str) -> Path:
        return self._folder / f"{files.safe_name(video_id)}{_SUFFIX}"

    def check(self, wanted: MadeWith, *, overwrite: bool) -> None:
        """Raises UserError if the folder has results that were made with something else; nothing is changed."""
        differing = self.differences(wanted)
        if differing and not overwrite:
            raise UserError(
                f"{self.output} has results that were made with something else:\n  {console.first_lines(differing)}",
                "Expected results of the same run, checkpoint and settings, or an empty folder.",
                "Choose another folder: --output FOLDER; or replace these results: --overwrite",
            )

    def begin(self, wanted: MadeWith) -> None:
        """Records what results are made with; removes those that were made with something else.

        Where only what is shown of them differs, results stay.
        """
        before = self._recorded_with()
        if self.differences(wanted):
            if before is None or _differing(before, wanted, ("sha256", "settings")):
                self.remove()
            outputs.remove_ours(self.output, _are_of((before or _as_json(wanted))["summaries"]))
        record = self.output / RECORD_NAME
        if before != _as_json(wanted):
            with outputs.recording([record]):
                files.write_json(record, _as_json(wanted))

    def differences(self, wanted: MadeWith) -> list[str]:
        """In what the folder's results differ from those that are wanted, a line each."""
        before = self._recorded_with()
        if before is not None:
            return _differing(before, wanted, ("sha256", "settings", "shown"))
        if outputs.ours(self.output, _are_of(wanted.summaries)) or next(self.all(), None) is not None:
            return [f"{self.output / RECORD_NAME}, which says what they were made with, is missing or damaged"]
        return []

    def _recorded_with(self) -> dict[str, Any] | None:  # Any: JSON values
        path = self.output / RECORD_NAME
        try:
            content = files.read_json(path) if path.is_file() else None
        except UserError:
            return None
        kinds = {"settings": dict, "shown": dict, "summaries": list}
        if not isinstance(content, dict) or content.keys() != MadeWith.__dataclass_fields__.keys():
            return None
        return content if all(isinstance(content[key], kind) for key, kind in kinds.items()) else None

    def remove_stale(self, summaries: Collection[str]) -> None:
        """Deletes what an earlier call wrote and this one did not: of videos without a result now, in other forms."""
        outputs.remove_ours(self.output, lambda name: name not in summaries and tool_files.is_name_of_any(name))


def _as_json(made_with: MadeWith) -> dict[str, Any]:  # Any: JSON values
    content: dict[str, Any] = json.loads(json.dumps(asdict(made_with)))
    return content


def _differing(before: dict[str, Any], wanted: MadeWith, keys: tuple[str, ...]) -> list[str]:  # Any: JSON values
    now = _as_json(wanted)
    lines = []
    for key in keys:
        if key == "sha256":
            if before[key] != now[key]:
                was, is_now = (
                    f"{one['checkpoint']} of {one['run']} (sha256 {str(one['sha256'])[:12]})" for one in (before, now)
                )
                lines.append(f"weights: {was} there, {is_now} now")
        else:
            lines += sameness.differences(before[key], now[key], "there", "now")
    return lines


def _are_of(summaries: Collection[str]) -> Callable[[str], bool]:
    """Whether a file of a name is one that is made of results."""
    return lambda name: name in summaries or tool_files.is_name_of_any(name)


def _parsed(file: Path, form: type[Record] | None) -> Outcome | None:
    """What a file holds; None if it is damaged. Names may have bytes that are no UTF-8, which strict JSON has not."""
    try:
        content = json.loads(files.read_text(file))
        failure, result = content["failure"], content["result"]
        if form is not None and failure is None:
            result = form.model_validate(result)
        state = VideoState(int(content["bytes"]), int(content["modified_ns"]))
        outcome = Outcome(content["id"], content["path"], state, failure, result)
    except (ValueError, RecursionError, LookupError, TypeError, UserError):  # also pydantic's ValidationError
        return None
    is_whole = isinstance(outcome.id, str) and isinstance(outcome.path, str) and isinstance(failure, dict | None)
    is_whole = is_whole and (failure is None) != (result is None)
    return outcome if is_whole and file.name == f"{files.safe_name(outcome.id)}{_SUFFIX}" else None
