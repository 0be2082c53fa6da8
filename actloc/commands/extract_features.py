"""`actloc extract-features CONFIG`: videos in, one file of features per video out; a second run does what is left."""

import time
from collections import Counter
from contextlib import closing
from shutil import disk_usage
from typing import Any

from actloc import console, files
from actloc.annotations import AnnotatedVideo
from actloc.commands import prepare
from actloc.config import Machine
from actloc.encoders.base import ClipEncoder
from actloc.errors import EXIT_SOME_INPUTS_FAILED, EnvironmentProblem, UserError, VideoError
from actloc.experiment import Experiment, load
from actloc.signals import StopFlag
from actloc.sources.base import SourceConfig
from actloc.store import FeatureStore
from actloc.tasks.extraction import encode_videos, is_stale, recipe
from actloc.tasks.localization import choose_device, read_annotations

_USUAL_FPS = 30.0


def run(experiment: Experiment, *, overwrite: bool = False) -> int:
    """Extracts what the store lacks; exit status 3 if some videos failed. A complete store is not touched."""
    if experiment.encoder is None:
        raise UserError(
            f"{experiment.file} names no encoder.",
            "Expected an `encoder:` block, to turn videos into features.",
            "See the encoders there are: actloc ls encoders",
        )
    if not experiment.dataset.annotations_file.exists():
        prepare.run(load(str(experiment.file), list(experiment.overrides), check_inputs=True))
    videos = read_annotations(experiment).videos
    store = FeatureStore(experiment.features.path)
    encoder = experiment.encoder.build()
    wanted = recipe(encoder, experiment.features)
    if not overwrite:
        store.check_recipe(wanted)
        if _is_complete(store, videos):
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
) -> list[dict[str, Any]]:
    """Fills `store` with the videos it lacks; returns the rows of those that failed, and lists them in the store.

    Raises Stopped at a signal: the videos done are in the store, the one in progress is dropped.
    """
    stale = [video.id for video in videos.values() if store.has(video.id) and is_stale(store, video.id, video.file)]
    if stale:
        console.warn(
            f"{len(stale)} videos are other files than before and are done again: {', '.join(stale)}", ids=stale
        )
    lacking = {video.id: video for video in videos.values() if not store.has(video.id) or video.id in stale}
    _check_space(store, list(lacking.values()), encoder.channels, features)
    paths = {video.id: video.file for video in lacking.values() if video.file is not None}
    failed = {row["id"]: row for row in store.failed() if row["id"] in paths}  # until each is tried again
    for video in lacking.values():
        if video.file is None:
            failed[video.id] = _row(video, VideoError("not_a_file", "the annotations name no file", "a video", "none"))
    started, seconds = time.monotonic(), 0.0
    with (
        console.progress("extracting features", len(paths)) as bar,
        closing(encode_videos(paths, encoder, features, machine, stop.raise_if_set)) as encoded,
    ):
        for video_id, outcome in encoded:
            try:
                if isinstance(outcome, VideoError):
                    raise outcome
                array, info = outcome
                store.write(video_id, array, info, features.dtype)
            except VideoError as error:
                failed[video_id] = _row(lacking[video_id], error)
                store.write_failed(list(failed.values()))  # at once: a run that is killed has named them too
                console.emit("video_failed", id=video_id, reason=error.reason, detail=error.detail)
            else:
                failed.pop(video_id, None)
                seconds += info.duration_s
                console.emit("video_done", id=video_id, steps=len(array))
            bar(1, f"{seconds / (time.monotonic() - started):.1f} x real time, {video_id}")
    store.write_failed(list(failed.values()))
    return list(failed.values())


def _is_complete(store: FeatureStore, videos: dict[str, AnnotatedVideo]) -> bool:
    if store.recipe() is None or store.failed():
        return False
    return all(store.has(video.id) and not is_stale(store, video.id, video.file) for video in videos.values())


def _row(video: AnnotatedVideo, error: VideoError) -> dict[str, Any]:
    return {
        "id": video.id,
        "path": None if video.file is None else str(video.file),
        "reason": error.reason,
        "detail": error.detail,
        "expected": error.expected,
        "found": error.found,
    }


def _check_space(store: FeatureStore, videos: list[AnnotatedVideo], channels: int, features: SourceConfig) -> None:
    """Raises EnvironmentProblem before hours of work if the disk cannot hold what comes of it (R17)."""
    seconds = sum(video.duration_s or 0 for video in videos)
    bytes_per_value = 2 if features.dtype == "float16" else 4
    fps = _USUAL_FPS if features.fps == "native" else features.fps
    needed = seconds * fps / features.stride_frames * channels * bytes_per_value
    free = disk_usage(store.folder).free
    if needed > free:
        raise EnvironmentProblem(
            f"{store.folder} has {free / 1e9:.1f} GB free.",
            f"The features of {len(videos)} videos need about {needed / 1e9:.1f} GB.",
            "Make room, set features.path to another disk, or features.dtype=float16.",
        )


def _tell_end(
    experiment: Experiment, store: FeatureStore, videos: dict[str, AnnotatedVideo], failed: list[dict[str, Any]]
) -> int:
    done = len(videos) - len(failed)
    console.emit("done", path=str(store.folder), videos=done, failed=len(failed))
    if failed:
        reasons = Counter(row["reason"] for row in failed)
        listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        console.say(f"{len(failed)} of {len(videos)} videos failed, {done} are done.", style="red")
        console.say(f"{store.folder / 'failed.jsonl'}: {listed}")
        console.say(f"Retry them after replacing the files: actloc extract-features {experiment.arguments}")
        return EXIT_SOME_INPUTS_FAILED
    console.result(f"{store.folder}: features of {done} videos")
    console.say(f"Next: actloc train {experiment.arguments}")
    return 0
