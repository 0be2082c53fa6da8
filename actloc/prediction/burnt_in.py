"""`predict --video`: a copy of each video with the labels of its segments and a timeline on the picture."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from actloc import files
from actloc.errors import UserError
from actloc.prediction.made_files import Made
from actloc.prediction.video_files import Found, VideoFiles
from actloc.reports import ass
from actloc.video import rendering

_VERSION = 1
"""Of the drawing: copies made with another one are made again."""


class LabelledCopies(VideoFiles):
    """Copies beside the other results.

    They are not named as the subtitles, which players would show as well.
    """

    kind = "labelled copies"

    def check(self, videos: Mapping[str, Path]) -> None:
        """ffmpeg can draw, and no copy would replace a video or another's file."""
        if not self.is_wanted:
            return
        rendering.check_ffmpeg(with_labels=True)
        names = {_name(video_id): video_id for video_id in videos}
        for path in videos.values():
            target = self.made.folder / path.name
            if path.name in names and target.exists() and target.samefile(path):
                raise UserError(
                    f"The labelled copy of {videos[names[path.name]]} would replace the video {path}.",
                    "Expected a folder for results without videos of such names.",
                    "Choose another folder: --output FOLDER",
                )
        self.made.refuse_others(list(names), overwrite=self._overwrite, option="--output")

    def made_with(self, found: Found) -> str:
        """The video, the segments and their colours."""
        shown = [[*asdict(one).values(), found.colours.get(one.label)] for one in found.video.segments]
        content = [_VERSION, asdict(found.state), found.video.duration_s, shown]
        return files.sha256_of_bytes(json.dumps(content).encode())

    def seconds(self, found: Found) -> float:
        """The whole video."""
        return found.duration_s

    def make(self, found: Found, made_with: str, report_time: Callable[[float], None]) -> None:
        """Writes the copy."""
        video_id = found.video.id
        name = _name(video_id)
        shown = rendering.look_at(found.path)
        look = ass.Look(shown.width, shown.height, found.duration_s, found.colours, rendering.SLOWED)
        subtitles = ass.overlay(found.video.segments, look)
        target = self.made.folder / name
        files.remove(target)  # of earlier results; others' are refused before
        self.made.write(Made(video_id, made_with, {name: None}))
        rendering.burn_in(found.path, target, shown, subtitles, ass.FONT, report_time)
        self.made.write(Made(video_id, made_with, {name: target.stat().st_size}))

    def finish(self) -> None:
        """There is nothing that is made of all copies."""


def _name(video_id: str) -> str:
    return f"{files.safe_name(video_id)}_labelled.mp4"
