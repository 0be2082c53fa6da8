"""`actloc extract-features CONFIG`: videos in, one file of features per video out; a second run does what is left."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from shutil import disk_usage
from typing import Any

import torch

from actloc import console, files
from actloc.annotations import AnnotatedVideo
from actloc.commands import prepare
from actloc.config import Machine
from actloc.encoders.base import ClipEncoder, EncoderConfig
from actloc.errors import EXIT_SOME_INPUTS_FAILED, EnvironmentProblem, UserError, VideoError
from actloc.experiment import Experiment, load
from actloc.signals import StopFlag
from actloc.sources.base import SourceConfig
from actloc.store import FeatureStore
from actloc.tasks.extraction import check_clip_length, encode_videos, is_stale, num_decoders, ready, recipe
from actloc.tasks.extraction_plan import Shard, durations, estimated_bytes, longest_first, shared_out
from actloc.tasks.localization import choose_device, read_annotations
from actloc.tasks.pace import Pace
from actloc.tasks.rows import RowSink

_MOST_NAMES = 10


def run(experiment: Experiment, *, overwrite: bool = False, shard: str | None = None, dry_run: bool = False) -> int:
    """Extracts what the store lacks; exit status 3 if some videos failed. A complete store is not touched.

    `shard`, such as 2/8, is the part of the videos that is done here. `dry_run` tells what there is to do, and exits
    with 2 if something is missing for it.
    """
    encoder_config = _encoder_config(experiment)
    own = None if shard is None else Shard.parse(shard)
    if dry_run:
        return _tell_plan(experiment, encoder_config, own, overwrite=overwrite)
    if own and overwrite:
        raise UserError(
            "--overwrite and --shard were given together.",
            "Expected one of them: a shard that throws away the store takes the other shards' work with it.",
            f"Delete {experiment.features.path} and start all shards",
        )
    _prepare(experiment)
    videos = _share(experiment, own)
    store = FeatureStore(experiment.features.path)
    encoder = encoder_config.build()
    wanted = recipe(encoder, experiment.features)
    if not overwrite:
        store.check_recipe(wanted)
        if _is_complete(store, videos):
            console.result(f"{store.folder} is already complete")
            return _tell_end(experiment, store, videos, [], own)
    with files.locked(store.folder, str(own or "")), StopFlag() as stop:
        store.begin(wanted, overwrite=overwrite)
        encoder = ready(encoder, choose_device(experiment.machine.device))
        failed = extract(videos, store, encoder, experiment.features, experiment.machine, stop, own)
    return _tell_end(experiment, store, videos, failed, own)


def _encoder_config(experiment: Experiment) -> EncoderConfig:
    if experiment.encoder is None:
        raise UserError(
            f"{experiment.file} names no encoder.",
            "Expected an `encoder:` block, to turn videos into features.",
            "See the encoders there are: actloc ls encoders",
        )
    return experiment.encoder


def _prepare(experiment: Experiment) -> None:
    """Prepares what is not prepared; shards that start together wait for the one that does it."""
    if not experiment.dataset.annotations_file.exists():
        with files.taking_turns(experiment.dataset.folder):
            if not experiment.dataset.annotations_file.exists():
                prepare.run(load(str(experiment.file), list(experiment.overrides), check_inputs=True))


def _share(experiment: Experiment, shard: Shard | None) -> dict[str, AnnotatedVideo]:
    videos = read_annotations(experiment).videos
    return videos if shard is None else shared_out(videos, shard)


def extract(
    videos: dict[str, AnnotatedVideo],
    store: FeatureStore,
    encoder: ClipEncoder,
    features: SourceConfig,
    machine: Machine,
    stop: StopFlag,
    shard: Shard | None = None,
) -> list[dict[str, Any]]:
    """Fills `store` with the videos it lacks; returns the rows of those that failed, and lists them in the store.

    Raises Stopped at a signal: the videos done are in the store, those in progress are dropped.
    """
    lacking = _lacking(store, videos)
    lack = _lack_of_space(store, lacking, encoder, features, machine)
    if lack:
        raise lack
    paths = {video.id: video.file for video in lacking if video.file is not None}
    failed = {row["id"]: row for row in store.failed() if row["id"] in paths}  # until each is tried again
    for video in lacking:
        if video.file is None:
            failed[video.id] = _row(video, VideoError("not_a_file", "the annotations name no file", "a video", "none"))
    to_do, part = [video for video in lacking if video.id in paths], str(shard or "")
    with console.progress("extracting features", sum(durations(to_do).values()), is_count=False) as bar:
        pace = Pace(bar, to_do, features)

        def open_rows(video_id: str) -> RowSink:
            return pace.watched(video_id, store.writer(video_id, features.dtype))

        with closing(encode_videos(paths, encoder, features, machine, open_rows, stop.raise_if_set)) as encoded:
            for video_id, outcome in encoded:
                if isinstance(outcome, VideoError):
                    failed[video_id] = _row(videos[video_id], outcome)
                    store.write_failed(list(failed.values()), part)  # at once: a run that is killed has named them too
                    console.emit("video_failed", id=video_id, reason=outcome.reason, detail=outcome.detail)
                else:
                    failed.pop(video_id, None)
                    console.emit("video_done", id=video_id, steps=outcome.steps)
                pace.over(video_id)
    store.write_failed(list(failed.values()), part)
    return list(failed.values())


def _lacking(store: FeatureStore, videos: Mapping[str, AnnotatedVideo]) -> list[AnnotatedVideo]:
    """What there is to do, longest first."""
    stale = _stale(store, videos)
    if stale:
        console.warn(
            f"{len(stale)} videos are other files than before and are done again: {', '.join(stale)}", ids=stale
        )
    return longest_first(video for video in videos.values() if not store.has(video.id) or video.id in stale)


def _stale(store: FeatureStore, videos: Mapping[str, AnnotatedVideo]) -> list[str]:
    """The videos whose files are others than those that their features were made from."""
    return [name for name, video in videos.items() if store.has(name) and is_stale(store, name, video.file)]


def _is_complete(store: FeatureStore, videos: Mapping[str, AnnotatedVideo]) -> bool:
    if store.recipe() is None or any(row["id"] in videos for row in store.failed()):
        return False
    return all(store.has(video_id) for video_id in videos) and not _stale(store, videos)


def _row(video: AnnotatedVideo, error: VideoError) -> dict[str, Any]:
    return {
        "id": video.id,
        "path": None if video.file is None else str(video.file),
        "reason": error.reason,
        "detail": error.detail,
        "expected": error.expected,
        "found": error.found,
    }


def _lack_of_space(
    store: FeatureStore, videos: list[AnnotatedVideo], encoder: ClipEncoder, features: SourceConfig, machine: Machine
) -> EnvironmentProblem | None:
    """What is told before hours of work if the disk cannot hold what comes of it (R17)."""
    sizes = sorted(estimated_bytes(videos, encoder.channels, features))
    # the rows of a video in progress lie beside the file that is made of them
    needed, free = sum(sizes) + sum(sizes[-num_decoders(machine) :]), _free_bytes(store.folder)
    if needed <= free:
        return None
    return EnvironmentProblem(
        f"{store.folder} has {free / 1e9:.1f} GB free.",
        f"The features of {len(videos)} videos need about {needed / 1e9:.1f} GB.",
        "Make room, set features.path to another disk, or features.dtype=float16.",
    )


def _free_bytes(folder: Path) -> int:
    return disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.is_dir())).free


def _tell_plan(experiment: Experiment, config: EncoderConfig, shard: Shard | None, *, overwrite: bool) -> int:
    """Says what there is to do and what is missing for it; starts and writes nothing."""
    features, machine = experiment.features, experiment.machine
    videos, store = _share(experiment, shard), FeatureStore(features.path)
    again = set(videos if overwrite else _stale(store, videos))
    to_do = [video for video in videos.values() if not store.has(video.id) or video.id in again]
    missing = [*_lack_of_files(to_do), *_refusal(lambda: choose_device(machine.device))]
    try:
        encoder = config.build()
        missing += [] if overwrite else _refusal(lambda: store.check_recipe(recipe(encoder, features)))
    except UserError as error:
        missing.append(str(error))
        outline = _outline(config)
    else:
        outline = encoder
    gigabytes = None
    if outline is not None:
        missing += _refusal(lambda: check_clip_length(outline, features))
        lack = _lack_of_space(store, to_do, outline, features, machine)
        missing += [str(lack)] if lack else []
        gigabytes = sum(estimated_bytes(to_do, outline.channels, features)) / 1e9
    size = "GB unknown without the encoder" if gigabytes is None else f"about {gigabytes:.3f} GB"
    hours, free = sum(durations(to_do).values()) / 3600, _free_bytes(store.folder) / 1e9
    console.result(f"{len(videos)} videos, {len(videos) - len(to_do)} of them done")
    console.result(f"To do: {len(to_do)} videos, {hours:.2f} hours, {size}; {free:.1f} GB are free at {store.folder}")
    for problem in missing:
        console.result(f"Missing: {problem}")
    console.emit("plan", videos=len(videos), to_do=len(to_do), hours=hours, gigabytes=gigabytes, missing=missing)
    return UserError.status if missing else 0


def _outline(config: EncoderConfig) -> ClipEncoder | None:
    """The encoder without the numbers in it; None where it cannot be had without its weights."""
    try:
        with torch.device("meta"):
            return config.network()
    except UserError:
        return None


def _lack_of_files(videos: list[AnnotatedVideo]) -> list[str]:
    lost = sorted(video.id for video in videos if video.file is None or not video.file.exists())
    if not lost:
        return []
    names = ", ".join(lost[:_MOST_NAMES]) + (", ..." if len(lost) > _MOST_NAMES else "")
    return [f"{len(lost)} of the videos to do have no file: {names}"]


def _refusal(check: Callable[[], object]) -> list[str]:
    """What `check` has to say, if it raises UserError."""
    try:
        check()
    except UserError as error:
        return [str(error)]
    return []


def _tell_end(
    experiment: Experiment,
    store: FeatureStore,
    videos: dict[str, AnnotatedVideo],
    failed: list[dict[str, Any]],
    shard: Shard | None,
) -> int:
    done = len(videos) - len(failed)
    share, option = (f" of shard {shard.text}", f" --shard {shard.text}") if shard else ("", "")
    console.emit("done", path=str(store.folder), videos=done, failed=len(failed))
    if failed:
        reasons = Counter(row["reason"] for row in failed)
        listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        console.say(f"{len(failed)} of {len(videos)} videos{share} failed, {done} are done.", style="red")
        console.say(f"{store.failed_file(str(shard or ''))}: {listed}")
        console.say(f"Retry them after replacing the files: actloc extract-features {experiment.arguments}{option}")
        return EXIT_SOME_INPUTS_FAILED
    console.result(f"{store.folder}: features of {done} videos{share}")
    if shard:
        console.say(f"Next, when all shards are done: actloc extract-features {experiment.arguments} --dry-run")
    else:
        console.say(f"Next: actloc train {experiment.arguments}")
    return 0
