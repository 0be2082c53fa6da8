"""A trained run for use from Python: one video, several, frames from memory, or a part of a video."""

import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from actloc.errors import UserError, VideoError
from actloc.extraction.video_progress import VideoProgress
from actloc.prediction.base import FilePredictor
from actloc.prediction.inputs import named_videos
from actloc.video.base import Span, VideoFacts, checked_path
from actloc.video.clip_files import is_bare_folder_of_frames, is_folder_of_frames
from actloc.video.frames_file import NAME, write_frames
from actloc.video.reader import probe

Name = str | os.PathLike[str]
"""A path of a video."""
Names = list[str] | list[Path] | list[str | Path] | tuple[str | Path, ...]
Frames = NDArray[np.uint8] | Iterator[NDArray[np.uint8]] | list[NDArray[np.uint8]]
"""Frames (T, H, W, 3), or frames (H, W, 3) one after the other; red, green, blue from 0 to 255."""
Progress = Callable[[float, float], object]
"""Called with the seconds of video that are done and the seconds of all."""

_ROUNDED_S = 0.5
"""A header states a duration that may differ from the end of the last frame; a part may end this much later."""


class VideoPredictor:
    """A trained run, loaded once; predicts any number of videos, one at a time, from one thread.

    As a context manager it ends the processes that read videos; they also end with this process.
    """

    def __init__(self, run: FilePredictor, *, takes_frames: bool) -> None:
        self._run, self._takes_frames = run, takes_frames

    @overload
    def predict(
        self, video: Name, *, start_s: float | None = ..., end_s: float | None = ..., progress: Progress | None = ...
    ) -> list[Any]: ...

    @overload
    def predict(
        self,
        video: Names,
        *,
        start_s: float | None = ...,
        end_s: float | None = ...,
        progress: Progress | None = ...,
        failed: dict[str, VideoError] | None = ...,
    ) -> dict[str, list[Any]]: ...

    @overload
    def predict(
        self,
        video: Frames,
        *,
        fps: float,
        start_s: float | None = ...,
        end_s: float | None = ...,
        progress: Progress | None = ...,
    ) -> list[Any]: ...

    def predict(
        self,
        video: Name | Names | Frames,
        *,
        fps: float | None = None,
        start_s: float | None = None,
        end_s: float | None = None,
        progress: Progress | None = None,
        failed: dict[str, VideoError] | None = None,
    ) -> list[Any] | dict[str, list[Any]]:  # Any: each task's own form, with `label` and `score`
        """What the run predicts of `video`, the best score first.

        `video` is a path; frames with their rate `fps`, as an array (T, H, W, 3) uint8 in RGB or an iterator of arrays
        (H, W, 3), of which one is in memory at a time; or a list of paths, in which a folder means the videos in it:
        then the result is a dict of lists by path, in this order.

        With `start_s` and `end_s` (seconds; None is the start or the end of the video) only this part is predicted, as
        if a file held nothing else. Times in the result stay those of the whole video.

        `progress(done_s, total_s)` is called now and then with the seconds of video that are done, in all videos
        together, and the seconds of all; an exception that it raises ends the prediction.

        Raises VideoError where a video cannot be read. Of several videos, those that cannot be read are put into the
        dict `failed` by their path, if there is one, and the others are predicted. Raises UserError for other
        arguments, such as frames of another dtype or a part that is not in the video.
        """
        span = _span(start_s, end_s)
        if isinstance(video, str | os.PathLike):
            _refuse_fps(fps)
            path = self._single(Path(video))
            (found,) = self._predicted({str(path): path}, span, progress, None).values()
            return found
        if failed is not None and isinstance(video, np.ndarray):
            raise _failed_of_one()
        if not isinstance(video, Iterable):
            raise UserError(
                f"The video is a {type(video).__name__}.",
                "Expected a path, a list of paths, or frames as arrays.",
                "Pass one of these.",
            )
        items: Iterator[Any] = iter(video)
        first = next(items, None)
        if isinstance(first, str | os.PathLike) or (first is None and fps is None):
            _refuse_fps(fps)
            return self._of_many([] if first is None else [first, *items], span, progress, failed)
        if failed is not None:
            raise _failed_of_one()
        return self._of_frames(items if first is None else chain([first], items), fps, span, progress)

    def _of_many(
        self, names: Iterable[Any], span: Span | None, progress: Progress | None, failed: dict[str, VideoError] | None
    ) -> dict[str, list[Any]]:
        listed = list(names)
        others = [name for name in listed if not isinstance(name, str | os.PathLike)]
        if others:
            raise UserError(
                f"One of the videos is a {type(others[0]).__name__}.",
                "Expected paths in a list of videos.",
                "Predict frames from memory by themselves: predict(frames, fps=25)",
            )
        videos: dict[str, Path] = {}
        for name in map(os.fspath, listed):
            is_missing = failed is not None and not Path(name).exists()  # so that it is noted as others are
            skipped = Path(os.devnull)
            paths = [Path(name)] if is_missing else named_videos([name], skipped, takes_frames=self._takes_frames)
            videos.update({str(path): path for path in paths})
        return self._predicted(videos, span, progress, failed)

    def _of_frames(self, frames: Iterator[Any], fps: float | None, span: Span | None, progress: Progress | None) -> Any:
        with tempfile.TemporaryDirectory(prefix="actloc-") as folder:
            path = Path(folder) / NAME
            write_frames(frames, fps, path)
            (found,) = self._predicted({"the video of the frames": path}, span, progress, None).values()
            return found

    def _single(self, path: Path) -> Path:
        if path.is_dir() and not is_folder_of_frames(path):
            raise UserError(
                f"{path} is a folder.",
                "Expected one video.",
                f"For all videos in it, name it in a list: predict([{str(path)!r}])",
            )
        return path

    def _predicted(
        self,
        videos: Mapping[str, Path],
        span: Span | None,
        progress: Progress | None,
        failed: dict[str, VideoError] | None,
    ) -> dict[str, list[Any]]:
        facts = {name: self._facts(name, path, span) for name, path in videos.items()} if span or progress else {}
        steps = _Steps(progress, sum(fact.duration_s for fact in facts.values() if fact))
        found: dict[str, list[Any]] = {}
        for name, path in videos.items():
            one = steps.of(facts.get(name))
            try:
                checked_path(path, unlisted_folders=self._takes_frames)  # also where the video is converted first
                found[name] = self._run.predict(path, one, span)
            except VideoError as error:
                if failed is None:
                    error.add_note(f"The video is {name}.")
                    raise
                failed[name] = error
            steps.over(one)
        return found

    def _facts(self, name: str, path: Path, span: Span | None) -> VideoFacts | None:
        """What a header says of the part that is read; None if it cannot be read, which is reported when the video is.

        Raises UserError where the part is not in the video.
        """
        if span is not None and is_bare_folder_of_frames(path):
            raise UserError(
                f"{name} is a folder of frames, which states no rate.",
                "Expected a video with a rate to read a part of it: times are counted with it.",
                "Remove start_s and end_s, or pass the frames of the part with fps.",
            )
        try:
            facts = probe(path, unlisted_folders=self._takes_frames)
        except VideoError:
            return None
        if span is None:
            return facts
        last_s = facts.duration_s + _ROUNDED_S
        if span.start_s >= facts.duration_s or (span.end_s or 0.0) > last_s:
            wrong = "start_s" if span.start_s >= facts.duration_s else "end_s"
            raise UserError(
                f"{wrong} is {getattr(span, wrong):g}, and {name} is {facts.duration_s:.2f} s long.",
                "Expected a part of the video, in seconds from its first frame.",
                "Correct the times; end_s=None is the end of the video.",
            )
        end_s = facts.duration_s if span.end_s is None else min(span.end_s, facts.duration_s)
        return replace(facts, duration_s=end_s - span.start_s)

    def close(self) -> None:
        """Ends the processes that read videos, if there are some; they also end with this process."""
        self._run.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Steps:
    """Adds up how far several videos are, for the caller's function; the seconds that it gets never fall."""

    def __init__(self, progress: Progress | None, total_s: float) -> None:
        self._progress, self._total_s = progress, total_s
        self._before_s = self._last_s = 0.0

    def of(self, facts: VideoFacts | None) -> VideoProgress:
        """That of the next video."""
        if self._progress is None:
            return VideoProgress(facts)
        return _Watched(facts, lambda seconds: self._report(self._before_s + seconds))

    def over(self, video: VideoProgress) -> None:
        """The video is done, or failed."""
        self._before_s += video.facts.duration_s if video.facts else 0.0
        self._report(self._before_s)

    def _report(self, done_s: float) -> None:
        self._last_s = max(self._last_s, min(done_s, self._total_s))
        if self._progress is not None:
            self._progress(self._last_s, self._total_s)


class _Watched(VideoProgress):
    """The progress of one video, which is passed on."""

    def __init__(self, facts: VideoFacts | None, report: Callable[[float], None]) -> None:
        super().__init__(facts)
        self._report = report

    def at(self, seconds: float) -> None:
        """Passes it on."""
        self._report(min(seconds, self.facts.duration_s if self.facts else 0.0))


def _span(start_s: Any, end_s: Any) -> Span | None:  # Any: not checked yet
    """The part that is meant; None for the whole video. Raises UserError for times that cannot be one."""
    if start_s is None and end_s is None:
        return None
    for name, value in (("start_s", start_s), ("end_s", end_s)):
        is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if value is not None and not (is_number and math.isfinite(value) and value >= 0):
            raise UserError(
                f"{name} is {value!r}.",
                "Expected seconds from the first frame of the video, 0 or more, or None.",
                f"Correct {name}.",
            )
    if end_s is not None and end_s <= (start_s or 0.0):
        raise UserError(
            f"start_s is {start_s or 0.0:g} and end_s is {end_s:g}.",
            "Expected a part that ends after its start.",
            "Correct the times; end_s=None is the end of the video.",
        )
    return Span(float(start_s or 0.0), None if end_s is None else float(end_s))


def _refuse_fps(fps: float | None) -> None:
    if fps is not None:
        raise UserError(
            f"fps is {fps!r} beside a path.",
            "Expected fps with frames from memory only: a video states its own rate.",
            "Remove fps.",
        )


def _failed_of_one() -> UserError:
    return UserError(
        "failed was given with frames.",
        "Expected it with a list of paths: it takes the videos that cannot be read.",
        "Remove failed.",
    )
