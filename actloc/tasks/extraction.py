"""Features of videos: frames are decoded ahead in other processes, an encoder turns clips into vectors.

Results depend on the video and the recipe alone: neither the number of decoders nor the order of videos changes a bit,
and the batch size changes no more than rounding.
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
from actloc.files import sha256_of_bytes, sha256_of_file
from actloc.layers.precision import computing_in
from actloc.sources.base import SourceConfig
from actloc.store import FeatureInfo, Features, FeatureStore
from actloc.video import windows
from actloc.video.reader import read_frames

_MOST_FRAMES = 128  # frames a framewise encoder sees at once; 19 MB at 224 x 224
_GPU_BATCH = 32


def recipe(encoder: ClipEncoder, features: SourceConfig) -> dict[str, Any]:  # Any: JSON values
    """Everything that determines features, apart from the video itself."""
    names = {"fps", "decode_fps", "clip_frames", "frame_interval", "stride_frames", "align", "dtype"}
    grid = features.model_dump(mode="json", include=names)
    return {
        "encoder": encoder.config.model_dump(
            mode="json", exclude={"weights"}
        ),  # the file may move; its sha256 says which
        "weights_sha256": encoder.weights_sha256,
        "features": grid,
    }


def check_clip_length(encoder: ClipEncoder, features: SourceConfig) -> None:
    """Raises UserError if the encoder cannot take clips of this length."""
    if features.clip_frames % (encoder.clip_multiple * features.frame_interval):
        needed = encoder.clip_multiple * features.frame_interval
        raise UserError(
            f"features.clip_frames is {features.clip_frames}, features.frame_interval {features.frame_interval}.",
            f"The encoder {encoder.config.name} takes multiples of {encoder.clip_multiple} frames.",
            f"Set features.clip_frames={needed}",
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
    ((_, outcome),) = encode_videos({path.stem: path}, encoder, features, machine, waiting)
    if isinstance(outcome, VideoError):
        raise outcome
    return outcome


def encode_videos(
    videos: Mapping[str, Path],
    encoder: ClipEncoder,
    features: SourceConfig,
    machine: Machine,
    waiting: Callable[[], None] = lambda: None,
) -> Generator[tuple[str, tuple[Features, FeatureInfo] | VideoError]]:
    """Each video's id with its features, or with why it has none, in the order in which they are done.

    `machine.decoders` videos are decoded at a time and share the encoder's batches.
    """
    check_clip_length(encoder, features)
    network = BatchedNetwork(encoder, features, machine)
    ahead = deque(videos.items())
    active: deque[VideoInProgress] = deque()
    ended: list[VideoInProgress] = []
    try:
        while ahead or active:
            waiting()
            if ahead and len(active) < machine.decoders:
                video_id, path = ahead.popleft()
                try:
                    active.append(VideoInProgress(video_id, path, encoder, features, machine, waiting))
                except VideoError as error:
                    yield video_id, error
                continue
            video = active[0]
            try:
                items = list(itertools.islice(video.items, network.batch_size))
            except VideoError as error:
                network.forget(active.popleft())
                yield video.video_id, error
                continue
            network.add(video, items)
            # the next batch begins with another video's, while this one's frames are decoded
            (active if len(items) == network.batch_size else ended).append(active.popleft())
            for done in [video for video in ended if not network.owes(video)]:
                ended.remove(done)
                yield done.video_id, _outcome(done)
        network.finish()
        for video in ended:
            yield video.video_id, _outcome(video)
    finally:
        for video in (*active, *ended):
            video.close()


def _outcome(video: "VideoInProgress") -> tuple[Features, FeatureInfo] | VideoError:
    try:
        return video.result()
    except VideoError as error:
        return error


class VideoInProgress:
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
        self._reader = read_frames(
            path,
            fps=features.fps,
            decode_fps=features.decode_fps,
            steps=encoder.config.frame_steps(),
            reader=machine.reader,
            timeout_s=machine.decode_timeout_s,
            waiting=waiting,
        )
        self.items: Iterator[NDArray[Any]] = iter(self._reader) if encoder.is_framewise else self._clips()
        """What the network takes, in order: frames where it works frame by frame, else clips."""
        self._windower = windows.Windower(features.align, features.clip_frames, features.stride_frames)
        self._rows: list[Features] = []

    def _clips(self) -> Iterator[NDArray[Any]]:
        for frame in self._reader:
            yield from self._thinned(self._windower.add(frame))
        yield from self._thinned(self._windower.end())

    def _thinned(self, clips: Iterable[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        return (clip[:: self._settings.frame_interval] for clip in clips)

    def receive(self, vector: Features) -> None:
        """Takes what the network made of the next item."""
        if self._encoder.is_framewise:
            self._pool(self._windower.add(vector))
        else:
            self._rows.append(vector)

    def _pool(self, clips: Iterable[NDArray[Any]]) -> None:
        with torch.inference_mode():
            for clip in self._thinned(clips):
                row = self._encoder.pool_frames(torch.from_numpy(clip[None]))[0, :, 0]
                self._rows.append(row.float().numpy())

    def result(self) -> tuple[Features, FeatureInfo]:
        """The features (T, C) and what is known about them, once every item's vector is received.

        Raises VideoError where the video is shorter than one clip.
        """
        summary, settings, encoder = self._reader.summary, self._settings, self._encoder
        if encoder.is_framewise:
            self._pool(self._windower.end())
        array = np.stack(self._rows)
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
            fps=summary.fps,
            clip_frames=settings.clip_frames,
            stride_frames=settings.stride_frames,
            align=settings.align,
            offset_frames=windows.offset_frames(settings.align, settings.clip_frames),
            frame_count=summary.num_frames,
            duration_s=summary.duration_s,
            reader=summary.reader,
            source_bytes=source_bytes(self._path),
            source_sha256=source_sha256(self._path),
            code_version=actloc.__version__,
            steps=array.shape[0],
            channels=array.shape[1],
        )
        return array, info

    def close(self) -> None:
        """Ends the decoding."""
        self._reader.close()


class BatchedNetwork:
    """The encoder on batches that videos share and that are always full.

    What a clip gives must not depend on what else is decoded, so a batch has one size, whatever it holds: the
    arithmetic of one item is then the same everywhere, to the last bit.
    """

    def __init__(self, encoder: ClipEncoder, features: SourceConfig, machine: Machine) -> None:
        self._encoder = encoder
        clips = machine.clip_batch or (encoder.cpu_batch if encoder.device.type == "cpu" else _GPU_BATCH)
        self.batch_size = min(clips * features.stride_frames, _MOST_FRAMES) if encoder.is_framewise else clips
        self._waiting: dict[tuple[int, ...], list[tuple[VideoInProgress, NDArray[Any]]]] = {}  # by shape

    def add(self, video: VideoInProgress, items: list[NDArray[Any]]) -> None:
        """Takes the video's next items and runs every batch that is full."""
        for item in items:
            alike = self._waiting.setdefault(item.shape, [])
            alike.append((video, item))
            if len(alike) == self.batch_size:
                self._run(self._waiting.pop(item.shape))

    def finish(self) -> None:
        """Runs what is left."""
        while self._waiting:
            self._run(self._waiting.popitem()[1])

    def owes(self, video: VideoInProgress) -> bool:
        """Whether items of the video have not been run."""
        return any(owner is video for alike in self._waiting.values() for owner, _ in alike)

    def forget(self, video: VideoInProgress) -> None:
        """Throws away what waits of a video that failed."""
        left = {shape: [pair for pair in alike if pair[0] is not video] for shape, alike in self._waiting.items()}
        self._waiting = {shape: alike for shape, alike in left.items() if alike}

    def _run(self, alike: list[tuple[VideoInProgress, NDArray[Any]]]) -> None:
        first = alike[0][1]
        batch = np.zeros((self.batch_size, *first.shape), first.dtype)
        for place, (_, item) in enumerate(alike):
            batch[place] = item
        for (video, _), vector in zip(alike, self._vectors(batch), strict=False):
            video.receive(vector)

    def _vectors(self, batch: NDArray[Any]) -> Features:
        encoder = self._encoder
        items = torch.from_numpy(batch).to(encoder.device, non_blocking=True)
        with torch.inference_mode(), computing_in(encoder.config.precision, encoder.device):
            if encoder.is_framewise:
                return encoder.frame_vectors(items).cpu().numpy()
            features = encoder.encode(items)  # (S, C, v)
        assert features.shape[2] == 1, f"one vector per clip expected, found {features.shape[2]}"
        rows: Features = features[:, :, 0].float().cpu().numpy()
        return rows


def source_bytes(path: Path) -> int:
    """Bytes of a video file, or of a folder of frames."""
    return sum(file.stat().st_size for file in _files_of(path))


def source_sha256(path: Path) -> str:
    """Digest of a video file, or of a folder of frames."""
    digests = [sha256_of_file(file) for file in _files_of(path)]
    return digests[0] if len(digests) == 1 else sha256_of_bytes("".join(digests).encode())


def _files_of(path: Path) -> list[Path]:
    return sorted(path.iterdir()) if path.is_dir() else [path]


def is_stale(store: FeatureStore, video_id: str, path: Path | None) -> bool:
    """Whether the video's file is another than the one its features were made from."""
    if path is None or not path.exists():
        return False  # extraction done, the video may go
    size, digest = store.source(video_id)
    if source_bytes(path) != size:
        return True
    is_newer = max(file.stat().st_mtime for file in _files_of(path)) > store.written(video_id)
    return is_newer and source_sha256(path) != digest
