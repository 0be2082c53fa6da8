"""`actloc extract-features CONFIG`: videos in, one file of features per video out; a second run does what is left."""

import numpy as np

from actloc import console, files
from actloc.annotations import AnnotatedVideo
from actloc.config import Machine
from actloc.encoders.base import ClipEncoder
from actloc.errors import UserError, VideoError
from actloc.experiment import Experiment
from actloc.signals import StopFlag
from actloc.sources.base import SourceConfig
from actloc.store import FeatureStore
from actloc.tasks.extraction import constant_fps, encode_videos, recipe
from actloc.tasks.filling import Row, Sources, check_space, failure, fill, is_complete, lacking, tell_failures
from actloc.tasks.localization import choose_device, read_annotations


def run(experiment: Experiment, *, overwrite: bool = False) -> int:
    """Extracts what the store lacks; exit status 3 if some videos failed. A complete store is not touched."""
    if experiment.encoder is None:
        raise UserError(
            f"{experiment.file} names no encoder.",
            "Expected an `encoder:` block, to turn videos into features.",
            "See the encoders there are: actloc ls encoders",
        )
    constant_fps(experiment.features)
    videos = read_annotations(experiment).videos
    store = FeatureStore(experiment.features.path)
    encoder = experiment.encoder.build()
    wanted = recipe(encoder, experiment.features)
    if not overwrite:
        store.check_recipe(wanted)
        if is_complete(store, _sources(videos)):
            console.result(f"{store.folder} is already complete")
            return _tell_end(experiment, store, videos, [])
    with files.locked(store.folder), StopFlag() as stop:
        store.begin(wanted, overwrite=overwrite)
        encoder = encoder.to(choose_device(experiment.machine.device))
        failed = extract(videos, store, encoder, experiment.features, experiment.machine, stop)
    return _tell_end(experiment, store, videos, failed)


def extract(
    videos: dict[str, AnnotatedVideo],
    store: FeatureStore,
    encoder: ClipEncoder,
    features: SourceConfig,
    machine: Machine,
    stop: StopFlag,
) -> list[Row]:
    """Fills `store` with the videos it lacks; returns the rows of those that failed, and lists them in the store.

    Raises Stopped at a signal: the videos done are in the store, the one in progress is dropped.
    """
    wanted = [videos[name] for name in lacking(store, _sources(videos))]
    _check_space(store, wanted, encoder.channels, features)
    paths = {video.id: video.file for video in wanted if video.file is not None}
    failed = {row["id"]: row for row in store.failed() if row["id"] in paths}  # until each is tried again
    for video in wanted:
        if video.file is None:
            error = VideoError("not_a_file", "the annotations name no file", "a video", "none")
            failed[video.id] = failure(video.id, None, error)
    encoded = encode_videos(paths, encoder, features, machine, stop.raise_if_set)
    return fill(store, encoded, failed, paths, features.dtype, "extracting features")


def _sources(videos: dict[str, AnnotatedVideo]) -> Sources:
    return {video.id: [] if video.file is None else [video.file] for video in videos.values()}


def _check_space(store: FeatureStore, videos: list[AnnotatedVideo], channels: int, features: SourceConfig) -> None:
    seconds = sum(video.duration_s or 0 for video in videos)
    rows = seconds * constant_fps(features) / features.stride_frames
    check_space(store, len(videos), rows * channels * np.dtype(features.dtype).itemsize)


def _tell_end(experiment: Experiment, store: FeatureStore, videos: dict[str, AnnotatedVideo], failed: list[Row]) -> int:
    done = len(videos) - len(failed)
    console.emit("done", path=str(store.folder), videos=done, failed=len(failed))
    if failed:
        return tell_failures(store, len(videos), failed, f"actloc extract-features {experiment.arguments}")
    console.result(f"{store.folder}: features of {done} videos")
    console.say(f"Next: actloc train {experiment.arguments}")
    return 0
