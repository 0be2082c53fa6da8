"""Videos that cannot be decoded, which training goes on without if the settings allow it."""

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from actloc import console
from actloc.annotations.model import AnnotatedVideo
from actloc.errors import UserError, VideoError

_Loaded = TypeVar("_Loaded")


class LeftOutVideos:
    """The ids of videos that cannot be decoded. Several threads may use it at once."""

    def __init__(self, setting: str, *, is_allowed: bool) -> None:
        """`setting` is the one that allows to leave videos out, such as `features.allow_missing`."""
        self._setting = setting
        self._is_allowed = is_allowed
        self._ids: set[str] = set()
        self._changing = threading.Lock()

    def __contains__(self, video_id: str) -> bool:
        return video_id in self._ids

    def add(self, video: AnnotatedVideo, error: VideoError) -> None:
        """Names a video, once; raises UserError unless the settings allow missing videos."""
        if not self._is_allowed:
            raise UserError(
                f"{video.file}: {error}.",
                "Expected a video that can be decoded.",
                f"Replace the file, or continue without such videos: {self._setting}=true",
            ) from error
        with self._changing:
            is_new = video.id not in self._ids
            self._ids.add(video.id)
        if is_new:
            console.warn(f"{video.id} is left out: {error}", id=video.id)

    def first_readable(
        self, index: int, videos: Sequence[AnnotatedVideo], load: Callable[[int], _Loaded]
    ) -> tuple[int, _Loaded]:
        """A number of `videos` and what `load` gives for it: `index`, or the next one whose video can be decoded.

        Raises UserError if there is none, or unless the settings allow missing videos.
        """
        for number in (count % len(videos) for count in range(index, index + len(videos))):
            if videos[number].id not in self:
                try:
                    return number, load(number)
                except VideoError as error:
                    self.add(videos[number], error)
        raise UserError(
            "None of the training videos can be decoded.", "Expected one.", "Replace the files that the warnings name."
        )
