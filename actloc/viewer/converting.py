"""Copies of videos that browsers play, made by ffmpeg on request, one after the other, and kept in a bounded cache."""

import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from actloc import files
from actloc.errors import EnvironmentProblem, VideoError
from actloc.video import ffmpeg
from actloc.video.base import checked_path, input_arguments

MOST_BYTES = 10_000_000_000
"""Of all copies together; those that were not looked at for the longest time are deleted first."""
_LONGEST_SIDE = 1280
_RECIPE = "1"
"""Changes with the arguments below, so that copies made by others are not used."""
_EVEN = f"trunc({{side}}*min(1,{_LONGEST_SIDE}/max(iw,ih))/2)*2"
# What every browser plays: H.264 with 8 bits and AAC. A key frame every two seconds makes seeking quick.
_VIDEO = (
    *("-vf", f"scale=w='max(2,{_EVEN.format(side='iw')})':h='max(2,{_EVEN.format(side='ih')})',format=yuv420p"),
    *("-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-force_key_frames", "expr:gte(t,n_forced*2)"),
)
_SOUND = ("-c:a", "aac", "-b:a", "128k", "-ac", "2")
_FILE = ("-map_metadata", "-1", "-map_chapters", "-1", "-sn", "-dn", "-movflags", "+faststart", "-f", "mp4")


class _Cancelled(Exception):  # noqa: N818 - not an error: it was asked for
    """The conversion is not wanted any more."""


@dataclass(frozen=True)
class Conversion:
    """How far it is."""

    state: Literal["waiting", "running", "done", "failed", "stopped"]
    share: float = 0.0
    """From 0 to 1."""
    reason: str = ""
    """Why it failed."""


def cache_folder() -> Path:
    """Where copies are: $XDG_CACHE_HOME/actloc/viewer, by default in ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "actloc" / "viewer"


class Converter:
    """Converts one video at a time in a thread; `close` ends it and its ffmpeg."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self.folder, self.most_bytes = folder, most_bytes
        self._conversions: dict[Path, Conversion] = {}
        self._wanted: queue.Queue[tuple[Path, Path, float | None] | None] = queue.Queue()
        self._lock = threading.Lock()
        self._is_closing = False
        self._thread: threading.Thread | None = None

    def copy_of(self, video: Path) -> Path | None:
        """The finished copy of the video as it is now; None if there is none."""
        copy = self._place(video)
        if copy is None:
            return None
        try:
            os.utime(
                copy
            )  # it was looked at now; a check before this could be true of a copy that is deleted meanwhile
        except FileNotFoundError:
            return None
        return copy

    def conversion_of(self, video: Path) -> Conversion | None:
        """How far the conversion is; None if it was never asked for, or its copy was deleted to make room."""
        copy = self._place(video)
        if copy is not None and copy.is_file():
            return Conversion("done", 1.0)
        known = None if copy is None else self._conversions.get(copy)
        return None if known is None or known.state == "done" else known

    def start(self, video: Path, duration_s: float | None) -> Conversion:
        """Has the video converted, unless it is or was."""
        copy = self._place(video)
        if copy is None:
            return Conversion("failed", reason=f"{video} does not exist any more.")
        with self._lock:
            conversion = self.conversion_of(video)
            if conversion is None or conversion.state in ("failed", "stopped"):
                conversion = self._conversions[copy] = Conversion("waiting")
                self._wanted.put((video, copy, duration_s))
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="conversions")
                    self._thread.start()
            return conversion

    def stop(self, video: Path) -> Conversion | None:
        """Ends the conversion of a video, or takes it out of the queue; nothing of it is left."""
        copy = self._place(video)
        with self._lock:
            conversion = self._conversions.get(copy) if copy else None
            if copy and conversion and conversion.state in ("waiting", "running"):
                conversion = self._conversions[copy] = replace(conversion, state="stopped")
            return conversion

    def close(self) -> None:
        """Ends the conversion at work, and waits until its temporary file is removed."""
        self._is_closing = True
        self._wanted.put(None)
        if self._thread is not None:
            self._thread.join()

    def size(self) -> int:
        """Bytes of all copies."""
        return sum(state.st_size for _, state in self._copies())

    def _copies(self) -> list[tuple[Path, os.stat_result]]:
        """All copies; one that is deleted meanwhile, here or by another viewer, is left out."""
        found = []
        for path in self.folder.glob("*.mp4"):
            with suppress(FileNotFoundError):
                found += [] if path.name.startswith(".") else [(path, path.stat())]
        return found

    def _place(self, video: Path) -> Path | None:
        """The copy's path, which another path, size or time of the video would change; None without the video."""
        try:
            state = video.stat()
        except OSError:
            return None
        facts = "\0".join([_RECIPE, str(video), str(state.st_size), str(state.st_mtime_ns)])
        return self.folder / f"{files.sha256_of_bytes(os.fsencode(facts))[:32]}.mp4"

    def _work(self) -> None:
        while (wanted := self._wanted.get()) is not None and not self._is_closing:
            video, copy, duration_s = wanted

            def check(copy: Path = copy) -> None:
                if self._is_closing or self._conversions[copy].state == "stopped":
                    raise _Cancelled

            def report(written_s: float, copy: Path = copy, duration_s: float | None = duration_s) -> None:
                share = min(written_s / duration_s, 0.99) if duration_s else 0.0
                self._note(copy, Conversion("running", share))

            try:
                check()
                self._note(copy, Conversion("running"))
                write_copy(video, copy, check, report)
                self._make_room(keep=copy)
                self._note(copy, Conversion("done", 1.0))
            except _Cancelled:
                pass
            except VideoError as error:
                self._note(copy, Conversion("failed", reason=f"ffmpeg cannot convert {video}: {error.detail}"))
            except (OSError, EnvironmentProblem) as error:
                self._note(copy, Conversion("failed", reason=str(error)))

    def _note(self, copy: Path, conversion: Conversion) -> None:
        with self._lock:
            if self._conversions[copy].state != "stopped":
                self._conversions[copy] = conversion

    def _make_room(self, keep: Path) -> None:
        """Deletes the copies that were not looked at for the longest time, until all fit."""
        copies = sorted(self._copies(), key=lambda one: one[1].st_mtime)
        total = sum(state.st_size for _, state in copies)
        for path, state in copies:
            if total <= self.most_bytes:
                return
            if path != keep:
                total -= state.st_size
                files.remove(path)


def write_copy(
    video: Path,
    copy: Path,
    check_stop: Callable[[], None] = lambda: None,
    report: Callable[[float], None] = lambda written_s: None,
) -> None:
    """Writes a video as H.264 with AAC in mp4, at most 1280 pixels wide or high; `copy` appears once it is complete.

    Times stay as they are. Raises VideoError, OSError on a full disk, and what `check_stop` raises.
    """
    files.make_folder(copy.parent)
    temporary = files.temporary_path(copy.absolute())
    inputs = [*input_arguments(checked_path(video)), "-map", "0:V:0", "-map", "0:a:0?"]
    try:
        arguments = [*inputs, *_VIDEO, *_SOUND, *_FILE, f"file:{temporary}"]
        if not ffmpeg.run(arguments, check_stop=check_stop, report_time=report):
            raise VideoError("empty", "there are no pictures in it", "at least one frame", "0 frames")
        files.replace(temporary, copy)
    finally:
        files.remove(temporary)
