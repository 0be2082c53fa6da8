"""Extraction on a Ray cluster: the stages of `extraction.local`, the first two on any machine of the cluster.

Tasks decode videos on CPUs, and actors encode them, on GPUs if the cluster has any; pieces of a video, one batch each,
travel between the two. Only the command's own process writes rows, so a store has one writer. Ray restarts tasks and
actors that die; a piece that arrives twice counts once. On machines of the same kind, the stores equal those of
`extraction.local` to the last bit.
"""

import contextlib
import importlib.util
import json
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from actloc.encoders.base_network import ClipEncoder, check_clips
from actloc.errors import EnvironmentProblem, Stopped, UserError, VideoError
from actloc.extraction.batches import batch_size
from actloc.extraction.local import feature_info, warn_of_corrupt_frames
from actloc.extraction.ray_pieces import from_bytes
from actloc.extraction.ray_workers import Decoding, DecodingThere, EncoderCopy, EncodingThere, Row, picking_of
from actloc.extraction.rows import RowAssembly, RowSink
from actloc.settings.code_files import Packed
from actloc.settings.sections import MachineSettings
from actloc.store.filling import refuse_changed
from actloc.store.info import FeatureInfo
from actloc.video.base import python_environment
from actloc.video.reader import Summary
from actloc.video.windows import ClipSpacing, Picking

_POLL_S = 0.2
_GRACE_S = 10.0
"""Time for Ray to stop; then the command ends anyway, and its workers with it."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_LOG_LEVEL": "ERROR",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_DECODING_CPUS, _ENCODING_CPUS = 1, 0.5  # must differ, or Ray would fuse both into one stage
_OF_ONE_CPU = 0.2, 0.25  # the same where a cluster has one CPU: decoding would wait for a whole one forever


def check_installed() -> None:
    """Raises UserError if Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise UserError(
            "--engine ray needs Ray, which is not installed.",
            "Expected actloc to be installed with the extra `ray`.",
            "pip install actloc[ray], or leave out --engine ray",
        )


def encode_videos(
    videos: Mapping[str, Path],
    encoder: ClipEncoder,
    spacing: ClipSpacing,
    machine: MachineSettings,
    open_rows: Callable[[str], RowSink],
    check_stop: Callable[[], None] = lambda: None,
) -> Generator[tuple[str, FeatureInfo | VideoError]]:
    """Like `extraction.local.encode_videos`, on the cluster at RAY_ADDRESS, or on one started here.

    `encoder` sets the batch size and pools the vectors that return; copies of it do the work.
    """
    check_clips(encoder, spacing)
    encoder.check_videos(videos)
    if encoder.makes_frames:
        raise UserError(
            f"The encoder {encoder.config.name} computes optical flow with a network.",
            "Expected an encoder that takes frames as decoded: the engine ray decodes on CPUs and encodes on GPUs.",
            "Leave out --engine ray; to use several machines, split the videos with --shard, such as --shard 1/8",
        )
    if not videos:
        return
    arriving: dict[str, ArrivingVideo] = {}
    try:
        with cluster():
            for row in polled(_rows(videos, encoder, spacing, machine), check_stop):
                video_id = row["video_id"]
                if video_id not in arriving:
                    path = videos[video_id]
                    arriving[video_id] = ArrivingVideo(video_id, path, encoder, spacing, open_rows(video_id))
                outcome = arriving[video_id].take(row)
                if outcome is not None:
                    yield video_id, outcome
    finally:
        for video in arriving.values():
            video.close()


@contextlib.contextmanager
def cluster() -> Iterator[None]:
    """Joins or starts a cluster, without Ray's own output, and leaves it at the end."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if "RAY_ADDRESS" in os.environ:
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "2")  # of a minute each; Ray's default is twenty
    import ray

    try:
        _join()
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield
    except ray.exceptions.RayTaskError:
        raise  # raised by actloc's own code on a worker
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise EnvironmentProblem(
            f"Ray failed: {str(error).strip() or type(error).__name__}",
            "Expected a cluster, at RAY_ADDRESS or started here, that stays up until the work is done.",
            "Check the cluster with `ray status` and fix it, or unset RAY_ADDRESS; then run the same command again.",
        ) from error
    finally:
        ray.shutdown()


def _join() -> None:
    """Joins or starts the cluster; raises ConnectionError, too, where a node of Ray does not start in time."""
    import ray

    runtime = {"env_vars": {"PYTHONPATH": python_environment()["PYTHONPATH"]}}
    try:
        with _own_signals():
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, runtime_env=runtime)
    except Exception as error:
        if type(error) not in (Exception, RuntimeError):  # Ray has no class of its own for a node that is late
            raise
        raise ConnectionError(str(error).strip() or type(error).__name__) from error


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Restores the handler of SIGTERM, which ray.init replaces; raises Stopped if SIGTERM arrives meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    own = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as left:  # raised by Ray's handler of SIGTERM
        raise Stopped(signal.SIGTERM) from left
    finally:
        signal.signal(signal.SIGTERM, own)


def _rows(
    videos: Mapping[str, Path], encoder: ClipEncoder, spacing: ClipSpacing, machine: MachineSettings
) -> Iterator[Row]:
    """Encoded pieces of all videos, in any order."""
    import ray

    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    num_gpus = 0 if machine.device == "cpu" else int(resources.get("GPU", 0))  # this machine itself may have none
    device = "cuda" if num_gpus else encoder.device.type
    count = batch_size(encoder, spacing, machine, device)
    decode = Decoding(encoder.config.frame_steps(), spacing, machine, count, encoder.is_framewise)
    # without a GPU, an actor for each CPU, of which half is its own: so neither stage waits for the other forever
    actors = num_gpus or max(1, int(resources["CPU"]))
    decoding_cpus, encoding_cpus = cpus_of_stages(resources["CPU"], num_gpus)
    listed = [{"video_id": video_id, "path": str(path.absolute())} for video_id, path in videos.items()]
    pieces = ray.data.from_items(listed, override_num_blocks=len(listed)).map_batches(
        DecodingThere(Packed.of(decode)), batch_size=1, num_cpus=decoding_cpus, batch_format="numpy"
    )
    encoded = pieces.map_batches(
        EncodingThere,
        fn_constructor_args=(Packed.of((EncoderCopy.of(encoder, device), spacing, machine)),),
        batch_size=1,
        num_cpus=encoding_cpus,
        num_gpus=1 if num_gpus else None,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors),
        batch_format="numpy",
    )
    yield from encoded.iter_rows()


def cpus_of_stages(num_cpus: float, num_gpus: int) -> tuple[float, float]:
    """What a decoding task and an encoding actor take of the cluster's CPUs, so that both can always be at work."""
    if num_gpus:
        return _DECODING_CPUS, 0
    return (_DECODING_CPUS, _ENCODING_CPUS) if num_cpus > 1 else _OF_ONE_CPU


class ArrivingVideo:
    """A video whose encoded pieces arrive in any order."""

    def __init__(self, video_id: str, path: Path, encoder: ClipEncoder, spacing: ClipSpacing, sink: RowSink) -> None:
        self._video_id, self._path, self._encoder, self._spacing = video_id, path, encoder, spacing
        self._sink = sink
        self._picking: Picking | None = None
        self._assembly = RowAssembly(video_id, path, encoder, spacing, sink, lambda: self._picking)
        self._early: dict[int, Row] = {}
        self._next = 0
        self._is_over = False

    def take(self, row: Row) -> FeatureInfo | VideoError | None:
        """Takes a row; returns the outcome of the video after the last one, and None before.

        Raises UserError or EnvironmentProblem if a machine of the cluster cannot do the work.
        """
        if self._is_over or row["number"] < self._next:
            return None  # a repeated piece, of a task that Ray restarted
        self._early[row["number"]] = row
        try:
            while self._next in self._early:
                current = self._early.pop(self._next)
                if current["end"]:
                    return self._ended(json.loads(current["end"]))
                self._picking = picking_of(current["picking"])
                for vectors in from_bytes(current["piece"])[0]:
                    self._assembly.take(vectors)
                self._next += 1
        except VideoError as error:
            self.close()
            return error
        return None

    def _ended(self, end: dict[str, Any]) -> FeatureInfo:
        if "failure" in end:
            raise VideoError(*end["failure"])
        if "refusal" in end:
            kind = next(kind for kind in (EnvironmentProblem, UserError) if kind.status == end["status"])
            raise kind(*end["refusal"])
        summary = Summary(**end["summary"])
        self._assembly.end(summary.num_frames)
        warn_of_corrupt_frames(self._video_id, summary)
        info = feature_info(
            self._video_id, self._path, self._encoder, self._spacing, self._sink.dtype, summary, summary.num_frames
        )
        refuse_changed(self._path, end["state"])
        self._is_over = True
        return self._sink.finish(info)

    def close(self) -> None:
        """Discards unfinished rows; may be called again."""
        self._is_over = True
        self._early.clear()
        self._sink.discard()


def polled(rows: Iterator[Row], check_stop: Callable[[], None]) -> Iterator[Row]:
    """The rows as they arrive from Ray; calls `check_stop`, which may raise, several times a second in between."""
    arrived: queue.Queue[Row | BaseException | None] = queue.Queue(maxsize=1)
    is_over = threading.Event()

    def receive() -> None:
        try:
            for row in rows:
                arrived.put(row)
                if is_over.is_set():
                    return
            arrived.put(None)
        except BaseException as error:  # raised where the rows are consumed
            arrived.put(error)

    receiver = threading.Thread(target=receive, daemon=True)
    receiver.start()
    try:
        while True:
            check_stop()
            try:
                row = arrived.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if row is None:
                return
            if isinstance(row, BaseException):
                raise row
            yield row
    finally:
        is_over.set()
        deadline = time.monotonic() + _GRACE_S
        while receiver.is_alive() and time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                arrived.get_nowait()  # the receiver may be waiting to put the next one
            _stop_execution()
            receiver.join(_POLL_S)


def _stop_execution() -> None:
    """Stops Ray Data's own thread: if it calls Ray after shutdown, a new cluster starts or the process dies."""
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

    for thread in threading.enumerate():
        if isinstance(thread, StreamingExecutor):
            thread.shutdown(force=True)
