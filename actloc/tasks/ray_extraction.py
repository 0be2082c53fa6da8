"""Extraction on a Ray cluster: the stages of `extraction`, the first two wherever Ray has room for them.

Videos are decoded by tasks on CPUs and encoded by actors, on GPUs where the cluster has them; between the two go pieces
of a video that fill one batch each. Rows are written by the one process that was started, so a store has one writer. A
task or an actor that dies is run again by Ray; a piece that comes twice counts once. The stores are those of
`extraction`, to the last bit, on machines of one kind.
"""

import contextlib
import importlib.util
import io
import itertools
import json
import logging
import os
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from actloc.config import Machine
from actloc.encoders.base import ClipEncoder, EncoderConfig
from actloc.errors import EnvironmentProblem, UserError, VideoError
from actloc.sources.base import SourceConfig
from actloc.store import FeatureInfo, Features
from actloc.tasks.batches import BatchedNetwork
from actloc.tasks.clips import thinned, windower
from actloc.tasks.extraction import check_clip_length, describe, ready
from actloc.tasks.rows import RowAssembly, RowSink
from actloc.video.base import python_environment
from actloc.video.frame_steps import FrameStep
from actloc.video.reader import Summary, read_frames

_POLL_S = 0.2
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_LOG_LEVEL": "ERROR", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_ENCODING_CPUS = 0.5  # other than decoding's, or Ray would make one stage of both
Row = dict[str, Any]  # a row of Ray Data
Piece = tuple[NDArray[Any], NDArray[np.int64] | None]
"""Frames (n, H, W, c), and which of them make up each clip (S, F); None where the network takes the frames."""


def check_installed() -> None:
    """Raises UserError where Ray is not there."""
    if importlib.util.find_spec("ray") is None:
        raise UserError(
            "The engine ray was asked for, and Ray is not installed.",
            "Expected the extra `ray`.",
            "pip install actloc[ray], or leave out --engine ray",
        )


def encode_videos(
    videos: Mapping[str, Path],
    encoder: ClipEncoder,
    features: SourceConfig,
    machine: Machine,
    open_rows: Callable[[str], RowSink],
    waiting: Callable[[], None] = lambda: None,
) -> Generator[tuple[str, FeatureInfo | VideoError]]:
    """What `extraction.encode_videos` does, on the cluster that RAY_ADDRESS names, or on one started here.

    `encoder` pools what comes back and says how large batches are; the work is done by copies of it.
    """
    check_clip_length(encoder, features)
    if encoder.makes_frames:
        raise UserError(
            f"The encoder {encoder.config.name} computes its frames by a network: learned optical flow.",
            "Expected frames that CPUs decode and GPUs encode, which is what the engine ray takes apart.",
            "Leave out --engine ray, and share the videos with --shard 1/8",
        )
    arriving: dict[str, ArrivingVideo] = {}
    try:
        with _cluster():
            for row in _polled(_rows(videos, encoder, features, machine), waiting):
                video_id = row["video_id"]
                if video_id not in arriving:
                    path = videos[video_id]
                    arriving[video_id] = ArrivingVideo(video_id, path, encoder, features, open_rows(video_id))
                outcome = arriving[video_id].take(row)
                if outcome is not None:
                    yield video_id, outcome
    finally:
        for video in arriving.values():
            video.close()


@contextlib.contextmanager
def _cluster() -> Iterator[None]:
    """Joins or starts a cluster, quietly, and leaves it at the end."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    runtime = {"env_vars": {"PYTHONPATH": python_environment()["PYTHONPATH"]}}
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, runtime_env=runtime)
    except ConnectionError as error:
        raise EnvironmentProblem(
            f"{error}.",
            "Expected a cluster that runs at RAY_ADDRESS and lets this process in.",
            "See what Ray says there: ray status; or unset RAY_ADDRESS to start a cluster here.",
        ) from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    try:
        yield
    finally:
        ray.shutdown()


def _rows(videos: Mapping[str, Path], encoder: ClipEncoder, features: SourceConfig, machine: Machine) -> Iterator[Row]:
    """Encoded pieces of all videos, in any order."""
    import ray

    network = BatchedNetwork(encoder, features, machine)
    decode = Decoding(encoder.config.frame_steps(), features, machine, network.batch_size, encoder.is_framewise)
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    num_gpus = int(resources.get("GPU", 0)) if encoder.device.type == "cuda" else 0
    # half of the CPUs encode where there is no GPU: neither stage then waits for the other for ever
    actors = num_gpus or max(1, int(resources["CPU"]) // 2)
    listed = [{"video_id": video_id, "path": str(path.absolute())} for video_id, path in videos.items()]
    pieces = ray.data.from_items(listed, override_num_blocks=len(listed)).map_batches(
        decode, batch_size=1, num_cpus=1, batch_format="numpy"
    )
    encoded = pieces.map_batches(
        Encoding,
        fn_constructor_args=(
            *(encoder.config, features, machine),
            *(str(encoder.device), torch.get_num_threads(), str(Path.cwd())),
        ),
        batch_size=1,
        num_cpus=0 if num_gpus else _ENCODING_CPUS,
        num_gpus=1 if num_gpus else None,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors),
        batch_format="numpy",
    )
    yield from encoded.iter_rows()


class Decoding:
    """The task that decodes one video and sends it on in pieces; the last one tells how it ended."""

    def __init__(
        self, steps: Sequence[FrameStep], features: SourceConfig, machine: Machine, batch_size: int, is_framewise: bool
    ) -> None:
        self._steps, self._features, self._machine = steps, features, machine
        self._batch_size, self._is_framewise = batch_size, is_framewise

    def __call__(self, batch: dict[str, NDArray[Any]]) -> Iterator[dict[str, list[Any]]]:
        """Rows of the video in `batch`, one at a time."""
        video_id, number = str(batch["video_id"][0]), 0
        features, machine = self._features, self._machine
        try:
            with read_frames(
                Path(str(batch["path"][0])),
                fps=features.fps,
                decode_fps=features.decode_fps,
                steps=self._steps,
                reader=machine.reader,
                timeout_s=machine.decode_timeout_s,
            ) as reader:
                cut = _frame_pieces if self._is_framewise else _clip_pieces
                for number, piece in enumerate(cut(reader, features, self._batch_size), 1):
                    yield _row(video_id, number - 1, piece=_to_bytes(piece))
                end = {"summary": asdict(reader.summary)}
        except VideoError as error:
            fields = ("reason", "detail", "expected", "found")
            end = {"failure": {name: getattr(error, name) for name in fields}}
        yield _row(video_id, number, end=json.dumps(end))


class Encoding:
    """The actor that holds an encoder and runs it on pieces."""

    def __init__(
        self,
        config: EncoderConfig,
        features: SourceConfig,
        machine: Machine,
        device: str,
        num_threads: int,
        folder: str,
    ) -> None:
        torch.set_num_threads(num_threads)  # as where the work was started: other threads may round otherwise
        with contextlib.chdir(folder):  # paths of weights count from there, and Ray starts its workers elsewhere
            self._encoder = ready(config.build(), torch.device(device))
        self._features, self._machine = features, machine

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, list[Any]]:
        """The row in `batch` with vectors in the place of its piece."""
        video_id, number, end = str(batch["video_id"][0]), int(batch["number"][0]), str(batch["end"][0])
        if end:
            return _row(video_id, number, end=end)
        frames, clips = _from_bytes(batch["piece"][0])
        items = list(frames if clips is None else (frames[places] for places in clips))
        network, found = BatchedNetwork(self._encoder, self._features, self._machine), Vectors()
        network.add(found, items)
        network.finish()
        return _row(video_id, number, piece=_to_bytes((np.stack(found.vectors), None)))


class Vectors:
    """What the network makes of one piece."""

    def __init__(self) -> None:
        self.vectors: list[Features] = []

    def receive(self, vector: Features) -> None:
        """Takes the next item's vector."""
        self.vectors.append(vector)


class ArrivingVideo:
    """A video whose pieces come back encoded, in any order."""

    def __init__(self, video_id: str, path: Path, encoder: ClipEncoder, features: SourceConfig, sink: RowSink) -> None:
        self._video_id, self._path, self._encoder, self._features = video_id, path, encoder, features
        self._sink = sink
        self._assembly = RowAssembly(encoder, features, sink)
        self._early: dict[int, Row] = {}
        self._next = 0
        self._is_over = False

    def take(self, row: Row) -> FeatureInfo | VideoError | None:
        """Takes a row; the outcome of the video once all have come and none before."""
        if self._is_over or row["number"] < self._next:
            return None  # a piece that came twice, of a task that Ray ran again
        self._early[row["number"]] = row
        try:
            while self._next in self._early:
                current = self._early.pop(self._next)
                if current["end"]:
                    return self._ended(json.loads(current["end"]))
                for vector in _from_bytes(current["piece"])[0]:
                    self._assembly.take(vector)
                self._next += 1
        except VideoError as error:
            self.close()
            return error
        return None

    def _ended(self, end: dict[str, Any]) -> FeatureInfo:
        if "failure" in end:
            raise VideoError(**end["failure"])
        self._assembly.end()
        summary = Summary(**end["summary"])
        info = describe(self._video_id, self._path, self._encoder, self._features, summary, summary.num_frames)
        self._is_over = True
        return self._sink.finish(info)

    def close(self) -> None:
        """Throws away rows that are not finished; may be called again."""
        self._is_over = True
        self._early.clear()
        self._sink.discard()


def _frame_pieces(frames: Iterable[NDArray[Any]], features: SourceConfig, count: int) -> Iterator[Piece]:
    remaining = iter(frames)
    while listed := list(itertools.islice(remaining, count)):
        yield np.stack(listed), None


def _clip_pieces(frames: Iterable[NDArray[Any]], features: SourceConfig, count: int) -> Iterator[Piece]:
    """`count` clips at a time; frames that clips share are sent once in a piece."""
    cutter = windower(features)
    kept: dict[int, NDArray[Any]] = {}
    clips: list[NDArray[np.int64]] = []

    def piece() -> Piece:
        places = np.stack(clips)
        first, last = int(places.min()), int(places.max())
        listed = np.stack([kept[place] for place in range(first, last + 1)])
        clips.clear()
        return listed, places - first

    for number, frame in enumerate(frames):
        kept[number] = frame
        clips += thinned(cutter.add(np.array(number)), features.frame_interval)
        if len(clips) == count:
            yield piece()
        kept.pop(number - _frames_needed(features, count), None)
    for clip in thinned(cutter.end(), features.frame_interval):
        clips.append(clip)
        if len(clips) == count:
            yield piece()
    if clips:
        yield piece()


def _frames_needed(features: SourceConfig, count: int) -> int:
    """Frames behind the newest one that a clip which is not yet sent may hold."""
    return features.clip_frames + (count + 1) * features.stride_frames


def _row(video_id: str, number: int, *, piece: bytes = b"", end: str = "") -> dict[str, list[Any]]:
    return {"video_id": [video_id], "number": [number], "piece": [piece], "end": [end]}


def _to_bytes(piece: Piece) -> bytes:
    """Arrays as .npz: frames of videos differ in size, and columns of Ray Data do not like that."""
    frames, clips = piece
    stream = io.BytesIO()
    np.savez(stream, frames=frames, clips=np.empty(0, np.int64) if clips is None else clips)
    return stream.getvalue()


def _from_bytes(content: bytes) -> Piece:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return arrays["frames"], arrays["clips"] if arrays["clips"].size else None


def _polled(rows: Iterator[Row], waiting: Callable[[], None]) -> Iterator[Row]:
    """The rows as they come from Ray; `waiting` is called several times a second in between, and may raise."""
    arrived: queue.Queue[Row | BaseException | None] = queue.Queue(maxsize=1)

    def receive() -> None:
        try:
            for row in rows:
                arrived.put(row)
            arrived.put(None)
        except BaseException as error:  # told where the rows are wanted
            arrived.put(error)

    threading.Thread(target=receive, daemon=True).start()
    while True:
        waiting()
        try:
            row = arrived.get(timeout=_POLL_S)
        except queue.Empty:
            continue
        if row is None:
            return
        if isinstance(row, BaseException):
            raise row
        yield row
