"""Features of videos: frames are decoded ahead in other processes, an encoder turns clips into vectors.

Results depend on the video and the recipe alone: batches never span videos, so neither the number of decoders nor the
order of videos changes a bit, and the batch size changes no more than rounding.
"""

import itertools
import json
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import actloc
from actloc import console
from actloc.config import Machine
from actloc.encoders.base import ClipEncoder
from actloc.errors import UserError, VideoError
from actloc.sources.base import SourceConfig
from actloc.store import FeatureInfo, Features
from actloc.tasks.filling import Outcome, source_bytes, source_sha256
from actloc.video import windows
from actloc.video.reader import FrameReader, read_frames

_MOST_FRAMES = 128  # frames a framewise encoder sees at once; 19 MB at 224 x 224


def recipe(encoder: ClipEncoder, features: SourceConfig) -> dict[str, Any]:  # Any: JSON values
    """Everything that determines features, apart from the video itself."""
    grid = features.model_dump(mode="json", include={"fps", "clip_frames", "stride_frames", "align", "dtype"})
    return {
        "encoder": encoder.config.model_dump(mode="json"),
        "weights_sha256": encoder.weights_sha256,
        "features": grid,
    }


def constant_fps(features: SourceConfig) -> float:
    """The rate to which videos are resampled; raises UserError where none is set."""
    if features.fps == "native":
        raise UserError(
            "features.fps is native.",
            "Features are extracted at one rate for all videos.",
            "Set features.fps to a number of frames per second.",
        )
    return features.fps


def check_clip_length(encoder: ClipEncoder, features: SourceConfig) -> None:
    """Raises UserError if the encoder cannot take clips of this length."""
    if features.clip_frames % encoder.clip_multiple:
        raise UserError(
            f"features.clip_frames is {features.clip_frames}.",
            f"The encoder {encoder.config.name} takes multiples of {encoder.clip_multiple}.",
            f"Set features.clip_frames={encoder.clip_multiple}",
        )


def encode_video(
    path: Path,
    encoder: ClipEncoder,
    features: SourceConfig,
    machine: Machine,
    waiting: Callable[[], None] = lambda: None,
) -> tuple[Features, FeatureInfo]:
    """The features (T, C) float32 of one video and what is known about them; raises VideoError.

    `waiting` is called while there is no frame to work on; what it raises ends the work.
    """
    check_clip_length(encoder, features)
    video = EncodedVideo(path.stem, path, encoder, features, machine, waiting)
    try:
        while video.advance():
            pass
    finally:
        video.close()
    return video.result()


def encode_videos(
    videos: Mapping[str, Path],
    encoder: ClipEncoder,
    features: SourceConfig,
    machine: Machine,
    waiting: Callable[[], None] = lambda: None,
) -> Generator[tuple[str, Outcome]]:
    """Each video's id with its features, or with why it has none, in the order in which they are done.

    `machine.decoders` videos are decoded at a time; the encoder takes a batch of each in turn.
    """
    check_clip_length(encoder, features)
    ahead = deque(videos.items())
    active: deque[EncodedVideo] = deque()
    try:
        while ahead or active:
            waiting()
            if ahead and len(active) < machine.decoders:
                video_id, path = ahead.popleft()
                try:
                    active.append(EncodedVideo(video_id, path, encoder, features, machine, waiting))
                except VideoError as error:
                    yield video_id, error
                continue
            video = active[0]
            try:
                if video.advance():
                    active.rotate(-1)  # the next batch is another video's, while this one's frames are decoded
                    continue
                yield video.video_id, video.result()
            except VideoError as error:
                yield video.video_id, error
            active.popleft()
    finally:
        for video in active:
            video.close()


class EncodedVideo:
    """A video on its way to features; its decoding has begun."""

    def __init__(
        self,
        video_id: str,
        path: Path,
        encoder: ClipEncoder,
        features: SourceConfig,
        machine: Machine,
        waiting: Callable[[], None],
    ) -> None:
        self.video_id = video_id
        self._path = path
        self._encoder = encoder
        self._settings = features
        self._reader: FrameReader = read_frames(
            path,
            fps=constant_fps(features),
            short_side=encoder.config.short_side,
            crop=encoder.config.crop,
            reader=machine.reader,
            timeout_s=machine.decode_timeout_s,
            waiting=waiting,
        )
        self._batches = feature_batches(self._reader, encoder, features, machine.clip_batch)
        self._parts: list[Features] = []

    def advance(self) -> bool:
        """Encodes one batch; false once there is none left."""
        part = next(self._batches, None)
        if part is not None:
            self._parts.append(part)
        return part is not None

    def result(self) -> tuple[Features, FeatureInfo]:
        """The features (T, C) and what is known about them, when `advance` has come to the end."""
        array = np.concatenate(self._parts)
        summary, settings, encoder = self._reader.summary, self._settings, self._encoder
        expected = windows.num_clips(summary.num_frames, settings.align, settings.clip_frames, settings.stride_frames)
        assert len(array) == expected, f"{len(array)} rows from {summary.num_frames} frames, expected {expected}"
        if summary.corrupt_frames:
            console.warn(
                f"{self.video_id}: {summary.corrupt_frames} of {summary.frames_decoded} frames have decoding errors",
                id=self.video_id,
                corrupt_frames=summary.corrupt_frames,
            )
        info = FeatureInfo(
            video_id=self.video_id,
            encoder=encoder.config.name,
            weights_sha256=encoder.weights_sha256,
            recipe=json.dumps(recipe(encoder, settings), sort_keys=True),
            fps=constant_fps(settings),
            clip_frames=settings.clip_frames,
            stride_frames=settings.stride_frames,
            align=settings.align,
            offset_frames=windows.offset_frames(settings.align, settings.clip_frames),
            frame_count=summary.num_frames,
            duration_s=summary.duration_s,
            reader=summary.reader,
            source_bytes=source_bytes([self._path]),
            source_sha256=source_sha256([self._path]),
            code_version=actloc.__version__,
            steps=array.shape[0],
            channels=array.shape[1],
        )
        return array, info

    def close(self) -> None:
        """Ends the decoding."""
        self._reader.close()


def feature_batches(
    frames: Iterable[NDArray[np.uint8]], encoder: ClipEncoder, features: SourceConfig, clip_batch: int
) -> Iterator[Features]:
    """Features (n, C) of up to `clip_batch` clips at a time, in order of time; frames are (H, W, 3)."""
    align, length, stride = features.align, features.clip_frames, features.stride_frames
    if encoder.is_framewise:  # every frame goes through the network once, however many clips share it
        vectors = _frame_vectors(frames, encoder, min(clip_batch * stride, _MOST_FRAMES))
        for batch in _batches(windows.clips(vectors, align, length, stride), clip_batch):
            yield _rows(encoder.pool_frames, batch, encoder.device)
    else:
        for batch in _batches(windows.clips(frames, align, length, stride), clip_batch):
            yield _rows(encoder.encode, batch, encoder.device)


def _frame_vectors(frames: Iterable[NDArray[np.uint8]], encoder: ClipEncoder, count: int) -> Iterator[NDArray[Any]]:
    for batch in _batches(frames, count):
        with torch.inference_mode():
            vectors = encoder.frame_vectors(torch.from_numpy(batch).to(encoder.device)).cpu().numpy()
        yield from vectors


def _rows(encode: Callable[[torch.Tensor], torch.Tensor], batch: NDArray[Any], device: torch.device) -> Features:
    with torch.inference_mode():
        features = encode(torch.from_numpy(batch).to(device))  # (S, C, v)
    assert features.shape[2] == 1, f"one vector per clip expected, found {features.shape[2]}"
    rows: Features = features[:, :, 0].float().cpu().numpy()
    return rows


def _batches(items: Iterable[NDArray[Any]], count: int) -> Iterator[NDArray[Any]]:
    """Up to `count` items stacked."""
    remaining = iter(items)
    while batch := list(itertools.islice(remaining, count)):
        yield np.stack(batch)
