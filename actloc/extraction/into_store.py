"""Extracts the features of videos into a feature store, with the chosen engine."""

from collections.abc import Callable, Generator, Mapping

from actloc import console
from actloc.annotations.model import AnnotatedVideo
from actloc.encoders.base_network import ClipEncoder, vectors_per_clip
from actloc.errors import EnvironmentProblem, VideoError
from actloc.extraction.local import encode_videos, num_decoders
from actloc.extraction.plan import Shard, durations, estimated_bytes, longest_first
from actloc.extraction.progress import Pace
from actloc.extraction.rows import RowSink
from actloc.settings.choices import Dtype
from actloc.settings.sections import MachineSettings
from actloc.signals import StopFlag
from actloc.store import old_features
from actloc.store.filling import FailureRow, SourceFiles, failure, fill, space_shortage, to_make
from actloc.store.info import FeatureInfo
from actloc.store.store import FeatureStore
from actloc.video.windows import ClipSpacing

Engine = Callable[..., Generator[tuple[str, FeatureInfo | VideoError]]]
"""A function with the arguments and results of `extraction.local.encode_videos`."""


def extract(
    videos: dict[str, AnnotatedVideo],
    store: FeatureStore,
    encoder: ClipEncoder,
    spacing: ClipSpacing,
    dtype: Dtype,
    machine: MachineSettings,
    stop: StopFlag,
    shard: Shard | None = None,
    encode: Engine = encode_videos,
) -> list[FailureRow]:
    """Extracts the videos missing from `store`; returns the rows of those that failed, and lists them in the store.

    Raises Stopped at a signal: finished videos are in the store, those in progress are discarded.
    """
    wanted = longest_first(videos[name] for name in to_make(store, sources_of(videos)))
    per_clip, freed = vectors_per_clip(encoder, spacing), old_features.num_bytes(store.folder)
    shortage = space_shortage_of(store, wanted, encoder.channels * per_clip, spacing, dtype, machine, freed)
    if shortage:
        raise shortage
    paths = {video.id: video.file for video in wanted if video.file is not None}
    failed = {row["id"]: row for row in store.failed() if row["id"] in paths}  # until each is tried again
    for video in wanted:
        if video.file is None:
            error = VideoError("not_a_file", "the annotations name no file", "a video", "none")
            failed[video.id] = failure(video.id, None, error)
    to_do = [video for video in wanted if video.id in paths]
    with console.progress("extracting features", sum(durations(to_do).values()), is_count=False) as bar:
        pace = Pace(bar, to_do, spacing, per_clip)

        def open_rows(video_id: str) -> RowSink:
            return pace.watched(video_id, store.writer(video_id, dtype))

        encoded = encode(paths, encoder, spacing, machine, open_rows, stop.raise_if_set)
        return fill(store, encoded, failed, paths, pace.over, str(shard or ""))


def sources_of(videos: Mapping[str, AnnotatedVideo]) -> SourceFiles:
    """The source file of each video's features."""
    return {video.id: [] if video.file is None else [video.file] for video in videos.values()}


def space_shortage_of(
    store: FeatureStore,
    videos: list[AnnotatedVideo],
    values_per_clip: int,
    spacing: ClipSpacing,
    dtype: Dtype,
    machine: MachineSettings,
    freed_bytes: int = 0,
) -> EnvironmentProblem | None:
    """The error to raise if the store's disk, with `freed_bytes` more, has too little space for videos' features."""
    sizes = sorted(estimated_bytes(videos, values_per_clip, spacing, dtype))
    # a video in progress needs space for its rows and for the final file
    needed = sum(sizes) + sum(sizes[-num_decoders(machine) :])
    return space_shortage(store.folder, len(videos), needed, freed_bytes)
