"""Extracts features on this machine: other processes decode frames ahead, an encoder turns clips into vectors.

There are three stages: `decoded` decodes a video and cuts it into clips, `batches` encodes batches that several videos
share, `rows` makes feature rows and passes them to a sink. None of them keeps more than a few clips of a video.

Results depend on the video and the recipe only: the number of decoders, of cores, and the order of videos do not change
a bit, and the batch size changes rounding only.
"""

import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from actloc import console
from actloc.encoders.base_network import ClipEncoder, check_clips, vectors_per_clip
from actloc.errors import VideoError
from actloc.extraction.batches import BatchedNetwork, workers
from actloc.extraction.decoded import DecodedVideo
from actloc.extraction.rows import RowAssembly, RowSink
from actloc.settings import code_files
from actloc.settings.choices import Dtype
from actloc.settings.sameness import shaping
from actloc.settings.sections import MachineSettings
from actloc.store.filling import describe, refuse_changed, source_of, state_of
from actloc.store.info import FeatureInfo, Features
from actloc.video.base import Span
from actloc.video.reader import Summary
from actloc.video.windows import ClipSpacing

_MOST_DECODERS = 16  # the one process that takes their frames cannot keep up with more


def recipe(encoder: ClipEncoder, spacing: ClipSpacing, dtype: Dtype) -> dict[str, Any]:  # Any: JSON values
    """Everything that determines features, apart from the video itself."""
    made_with = {
        "encoder": shaping(encoder.config, "features"),
        "weights_sha256": encoder.weights_sha256,
        "features": {**asdict(spacing), "dtype": dtype},
    }
    if encoder.revision is not None:
        made_with["revision"] = encoder.revision
    own_code = code_files.of(type(encoder.config))
    return {**made_with, "code": own_code} if own_code else made_with


def num_decoders(machine: MachineSettings) -> int:
    """Number of videos decoded at a time: the setting, or one per core, less one for the network."""
    if machine.decoders is not None:
        return machine.decoders
    has_affinity = hasattr(os, "sched_getaffinity")  # on Linux, a Slurm job sees the cores it was given
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return min(max(cores - 1, 1), _MOST_DECODERS)


def encode_into(
    rows: RowSink,
    path: Path,
    encoder: ClipEncoder,
    spacing: ClipSpacing,
    machine: MachineSettings,
    check_stop: Callable[[], None] = lambda: None,
    span: Span | None = None,
) -> FeatureInfo:
    """Writes the rows of one video, or of a part of it, to a sink; returns the metadata, or raises VideoError."""
    ((_, outcome),) = encode_videos({path.stem: path}, encoder, spacing, machine, lambda _: rows, check_stop, span)
    if isinstance(outcome, VideoError):
        raise outcome
    return outcome


def encode_videos(
    videos: Mapping[str, Path],
    encoder: ClipEncoder,
    spacing: ClipSpacing,
    machine: MachineSettings,
    open_rows: Callable[[str], RowSink],
    check_stop: Callable[[], None] = lambda: None,
    span: Span | None = None,
) -> Generator[tuple[str, FeatureInfo | VideoError]]:
    """Writes each video's rows to the sink that `open_rows` returns for its id.

    Yields ids in the order in which videos finish, each with the metadata of its features (the sink is then finished)
    or with the error. Several videos are decoded at a time and share the encoder's batches.
    """
    check_clips(encoder, spacing)
    encoder.check_videos(videos)
    ahead = deque(videos.items())
    active: list[VideoInProgress] = []
    ended: list[VideoInProgress] = []
    with workers(encoder.device.type) as pool:
        network = BatchedNetwork(encoder, spacing, machine, pool)
        most_active = num_decoders(machine)
        item = "frame" if encoder.is_framewise else "clip"
        console.detail(
            f"Decoding {console.count(most_active, 'video')} at a time with {machine.reader}; encoding "
            f"{console.count(network.batch_size, item)} per batch, {network.num_at_once} at a time"
        )
        try:
            while ahead or active:
                check_stop()
                if ahead and len(active) < most_active:
                    video_id, path = ahead.popleft()
                    try:
                        of_video = video_id, path, encoder, spacing, machine, open_rows, check_stop, span
                        active.append(VideoInProgress(*of_video))
                    except VideoError as error:
                        yield video_id, error
                    continue
                # the fullest buffer first, so that none waits for a slow decoder; among equals, the one served least
                # recently
                video = max(active, key=lambda one: one.backlog)
                items = video.take(network.items_at_once(video.item_bytes))
                network.add(video, items)
                active.remove(video)
                (ended if video.is_over else active).append(video)
                yield from _settled(ended, network)
            network.finish()
            yield from _settled(ended, network)
        finally:
            for video in (*active, *ended):
                video.close()


def _settled(ended: "list[VideoInProgress]", network: BatchedNetwork) -> Iterator[tuple[str, FeatureInfo | VideoError]]:
    """The outcomes of videos whose vectors have all arrived; removes them from `ended`."""
    for video in [video for video in ended if video.failure or not network.owes(video)]:
        network.forget(video)
        outcome = video.outcome()
        ended.remove(video)
        yield video.video_id, outcome


class VideoInProgress:
    """A video, or a part of it, whose features are being extracted; decoding starts in the constructor."""

    def __init__(
        self,
        video_id: str,
        path: Path,
        encoder: ClipEncoder,
        spacing: ClipSpacing,
        machine: MachineSettings,
        open_rows: Callable[[str], RowSink],
        check_stop: Callable[[], None],
        span: Span | None = None,
    ) -> None:
        self.video_id = video_id
        self.failure: VideoError | None = None
        """Why the video has no features, if it failed."""
        self.is_over = False
        """Whether the last item was passed to the network."""
        self._item_bytes = 0
        self._path, self._encoder, self._spacing = path, encoder, spacing
        self._state = state_of([path])
        self._decoded = DecodedVideo(path, encoder, spacing, machine, check_stop, span)
        try:
            self._sink = open_rows(video_id)
        except BaseException:
            self._decoded.close()
            raise
        self._assembly = RowAssembly(video_id, path, encoder, spacing, self._sink, lambda: self._decoded.picking)

    @property
    def backlog(self) -> float:
        """How full the buffer of decoded frames is, from 0 to 1; 1 if decoding waits or has ended."""
        return self._decoded.backlog

    @property
    def item_bytes(self) -> int:
        """Size of an item in bytes; 0 before the first."""
        return self._item_bytes

    def take(self, count: int) -> list[NDArray[Any]]:
        """The next items: fewer than `count` only at the end of the video, none if it failed."""
        items: list[NDArray[Any]] = []
        try:
            if self.failure is None:
                items = list(itertools.islice(self._decoded, count))
        except VideoError as error:
            self.failure = error
        self.is_over = len(items) < count
        self._item_bytes = items[0].nbytes if items else self._item_bytes
        return items

    def receive(self, vectors: Features) -> None:
        """Takes what the network made of the next item."""
        try:
            if self.failure is None:
                self._assembly.take(vectors)
        except VideoError as error:
            self.failure = error

    def outcome(self) -> FeatureInfo | VideoError:
        """Finishes the sink and returns the features' metadata, or returns why there are none."""
        try:
            if self.failure is None:
                self._assembly.end(self._decoded.num_frames)
                return self._finished()
        except VideoError as error:
            self.failure = error
        finally:
            self.close()
        assert self.failure is not None, "a video without a failure is finished"
        return self.failure

    def _finished(self) -> FeatureInfo:
        summary, spacing = self._decoded.summary, self._spacing
        warn_of_corrupt_frames(self.video_id, summary)
        num_frames, num_rows = self._decoded.num_frames, self._assembly.num_rows
        expected = spacing.num_rows(num_frames, vectors_per_clip(self._encoder, spacing))
        assert num_rows == expected, f"{num_rows} rows from {num_frames} frames, expected {expected}"
        info = feature_info(self.video_id, self._path, self._encoder, spacing, self._sink.dtype, summary, num_frames)
        refuse_changed(self._path, self._state)  # after its sha256, which is then that of what was decoded
        return self._sink.finish(info)

    def close(self) -> None:
        """Stops decoding and discards unfinished rows; may be called again."""
        self._decoded.close()
        self._sink.discard()


def warn_of_corrupt_frames(video_id: str, summary: Summary) -> None:
    """Warns of frames that the decoder had to conceal errors in, if any."""
    if summary.corrupt_frames:
        console.warn(
            f"{video_id}: {summary.corrupt_frames} of {console.count(summary.frames_decoded, 'frame')} "
            f"{'has' if summary.corrupt_frames == 1 else 'have'} decoding errors",
            id=video_id,
            corrupt_frames=summary.corrupt_frames,
        )


def feature_info(
    video_id: str,
    path: Path,
    encoder: ClipEncoder,
    spacing: ClipSpacing,
    dtype: Dtype,
    summary: Summary,
    num_frames: int,
) -> FeatureInfo:
    """The metadata of a video's features, except their number."""
    return describe(
        video_id,
        source_of([path]),
        encoder=encoder.config.name,
        weights_sha256=encoder.weights_sha256,
        recipe=recipe(encoder, spacing, dtype),
        spacing=spacing,
        fps=summary.fps,
        frame_count=num_frames,
        duration_s=summary.duration_s,
        reader=summary.reader,
        vectors_per_clip=vectors_per_clip(encoder, spacing),
    )
