"""`python -m actloc.video.clip_worker`: a process that reads clips of videos as long as its parent lives.

The first line on stdin is JSON with the rates and the reader of all videos; every other line is a request. Messages
are written to stdout (channel.py); P is followed by others, and X, B, C, T and E end the answer.

T  JSON: the times of a video, and the number of frames that were decoded for it
S  JSON: shape (S, F, H, W, c) and dtype of the clips, and which of the frames that follow each of their S * F frames
   is; if it is sent again, the answer begins anew
F  one frame, which is the next `count` of those that follow
E  JSON: the number of frames that were decoded for the answer
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import av
import numpy as np

from actloc.errors import UserError, VideoError
from actloc.video import step_messages
from actloc.video.base import OPEN_VIDEOS, Span
from actloc.video.channel import Channel, open_channel, received_requests, reporting
from actloc.video.decode import after_steps, reader_of, with_fallback
from actloc.video.listing import Listing, Progress, list_pictures
from actloc.video.random_access import UnverifiedError, Video, open_video
from actloc.video.windows import frames_of_clip

_LISTED_PICTURES = 4_000_000  # of all videos together: 64 MB, 37 hours at 30 frames per second

Part = tuple[Path, Span | None]
"""A video, or a part of it."""


class ClipWorker:
    """Answers requests; it keeps the last videos open, and more lists of their pictures."""

    def __init__(self, settings: dict[str, Any], channel: Channel) -> None:  # Any: JSON values
        self._settings, self._channel = settings, channel
        self._progress = Progress(channel.report_progress)
        self._listings: OrderedDict[Part, Listing] = OrderedDict()
        self._open: OrderedDict[Part, Video] = OrderedDict()

    def serve(self, request: dict[str, Any]) -> None:  # Any: JSON values
        """Answers one request."""
        part = Path(request["path"]), Span.from_json(request.get("span"))
        if request.get("hangs"):
            threading.Event().wait()  # an injected fault: a decoder that never answers
        before = self._progress.frames_decoded
        answer = self._send_times if request["task"] == "times" else self._send_clips
        try:
            try:
                answer(self._video(part), request)
            except UnverifiedError:
                self._close(part)
                self._list(part, from_packets=False)
                answer(self._video(part), request)
        except BaseException:
            self._close(part)
            raise
        self._channel.send_json(b"E", frames_decoded=self._progress.frames_decoded - before)

    def _video(self, part: Part) -> Video:
        if part not in self._open:
            if part not in self._listings:
                self._list(part)
            self._listings.move_to_end(part)
            self._open[part] = open_video(part[0], self._listings[part], self._progress)
            if len(self._open) > OPEN_VIDEOS:
                self._close(next(iter(self._open)))
        self._open.move_to_end(part)
        return self._open[part]

    def _list(self, part: Part, *, from_packets: bool = True) -> None:
        before = self._progress.frames_decoded
        rates, (path, span) = (self._settings["fps"], self._settings["decode_fps"]), part
        self._listings[part] = with_fallback(
            reader_of(path, self._settings["reader"]),
            lambda reader: list_pictures(path, reader, *rates, self._progress, span, from_packets=from_packets),
            lambda: self._progress.frames_decoded > before,
        )
        while sum(len(listed.numbers) for listed in self._listings.values()) > _LISTED_PICTURES:
            if len(self._listings) == 1:
                break
            self._listings.popitem(last=False)

    def _close(self, part: Part) -> None:
        if part in self._open:
            self._open.pop(part).close()

    def _send_times(self, video: Video, request: dict[str, Any]) -> None:
        steps = step_messages.from_json(request["steps"])
        ahead = sum(step.frames_ahead for step in steps)
        listed, upright = video.listing, video.upright
        frame = next(after_steps(iter([(video.picture(0), 1 + ahead)]), steps, upright))[0]
        self._channel.send_json(
            b"T",
            num_frames=listed.num_places(ahead),
            fps=float(listed.fps),
            duration_s=listed.duration_s,
            width=upright.width,
            height=upright.height,
            frame_shape=frame.shape,
            dtype=frame.dtype.name,
            reader=listed.reader,
        )

    def _send_clips(self, video: Video, request: dict[str, Any]) -> None:
        steps = step_messages.from_json(request["steps"])
        ahead = sum(step.frames_ahead for step in steps)
        places = video.listing.num_places(ahead)
        if not places:
            raise VideoError("too_short", "the video has no frame at this rate", "1 frame", "0 frames")
        clips = [
            frames_of_clip(first, request["clip_frames"], places, video.listing.picking)[:: request["frame_interval"]]
            for first in request["first_frames"]
        ]
        wanted = sorted(set().union(*clips))
        upright = video.upright
        video.keep_from(min(video.listing.pictures(wanted[:1])))
        place = {frame: number for number, frame in enumerate(wanted)}
        sent = 0
        for run in runs(wanted, ahead):
            for frame, count in after_steps(_shown(video, run), steps, upright):
                content = np.ascontiguousarray(frame)
                if not sent:
                    shape, dtype = (len(clips), len(clips[0]), *content.shape), content.dtype.name
                    slots = [place[number] for clip in clips for number in clip]
                    self._channel.send_json(b"S", shape=shape, dtype=dtype, slots=slots)
                self._channel.send(b"F", content.data.cast("B"), count)
                sent += count
        if sent != len(wanted):
            raise UserError(
                f"The encoder's frame steps turned {len(wanted)} frames into {sent}.",
                "Expected a frame for each; a step that drops the last frames of a video sets frames_ahead.",
                "Correct the frame step.",
            )


def runs(frames: list[int], ahead: int) -> Iterator[list[int]]:
    """The frames that the steps get one after the other: all at once, or runs of neighbours with `ahead` more."""
    if not ahead:
        yield frames
        return
    for _, neighbours in groupby(enumerate(frames), lambda pair: pair[1] - pair[0]):
        run = [frame for _, frame in neighbours]
        yield [*run, *range(run[-1] + 1, run[-1] + 1 + ahead)]


def _shown(video: Video, frames: list[int]) -> Iterator[tuple[av.VideoFrame, int]]:
    """The picture of each frame, and for how many of `frames` in a row."""
    for number, same in groupby(video.listing.pictures(frames)):
        yield video.picture(number), len(list(same))


def main() -> None:
    """Answers requests until the parent ends; exits without cleanup, which a broken video could make hang or crash."""
    channel = open_channel()
    requests = received_requests()
    worker = ClipWorker(requests.get(), channel)
    while True:
        with reporting(channel):
            worker.serve(requests.get())


if __name__ == "__main__":
    main()
