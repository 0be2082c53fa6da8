"""`extract-features --dry-run`: the remaining work and anything missing."""

from collections.abc import Callable

import torch

from actloc import console
from actloc.annotations.model import AnnotatedVideo
from actloc.commands.extracting import encoder_of
from actloc.devices import choose_device
from actloc.encoders.base import EncoderConfig
from actloc.encoders.base_network import ClipEncoder, check_clips, vectors_per_clip
from actloc.errors import ActlocError, UserError
from actloc.experiment import Experiment
from actloc.extraction.into_store import sources_of, space_shortage_of
from actloc.extraction.local import recipe
from actloc.extraction.plan import Shard, durations, estimated_bytes
from actloc.runs import extraction_request as request
from actloc.store.filling import (
    free_bytes,
    stale,
)
from actloc.store.store import FeatureStore
from actloc.video.reader import check_installed


def report(experiment: Experiment, config: EncoderConfig, shard: Shard | None, *, overwrite: bool) -> int:
    """Reports the remaining work and anything missing; starts and writes nothing."""
    spacing, dtype, machine = experiment.features.spacing, experiment.features.dtype, experiment.machine
    videos, store = (
        request.share(request.as_prepared(experiment), shard),
        FeatureStore(request.store_folder(experiment)),
    )
    again = set(videos if overwrite else stale(store, sources_of(videos)))
    to_do = [video for video in videos.values() if not store.has(video.id) or video.id in again]
    missing = [*_missing_files(to_do), *_refusal(lambda: choose_device(machine.device))]
    missing += _refusal(lambda: check_installed(machine.reader, config.frame_steps()))
    try:
        encoder = encoder_of(experiment, config)
        missing += [] if overwrite else _refusal(lambda: store.check_recipe(recipe(encoder, spacing, dtype)))
        paths = {video.id: video.file for video in to_do if video.file is not None}
        missing += _refusal(lambda: encoder.check_videos(paths))
    except UserError as error:
        missing.append(str(error))
        outline = _outline(config)
    else:
        outline = encoder
    gigabytes, size = None, "a size unknown without the encoder's weights"
    if outline is not None:
        missing += _refusal(lambda: check_clips(outline, spacing))
        values = outline.channels * vectors_per_clip(outline, spacing)
        shortage = space_shortage_of(store, to_do, values, spacing, dtype, machine)
        missing += [str(shortage)] if shortage else []
        gigabytes = sum(estimated_bytes(to_do, values, spacing, dtype)) / 1e9
        size = f"about {console.size(gigabytes * 1e9)}"
    seconds, free = sum(durations(to_do).values()), free_bytes(store.folder)
    console.result(f"{console.count(len(videos), 'video')}, {len(videos) - len(to_do)} of them done")
    work = f"{console.count(len(to_do), 'video')} of {console.duration(seconds)} in all; features of {size}"
    console.result(f"To do: {work}; {console.size(free)} free in {store.folder}")
    for problem in missing:
        console.result(f"Missing: {problem}")
    console.emit(
        "plan", videos=len(videos), to_do=len(to_do), hours=seconds / 3600, gigabytes=gigabytes, missing=missing
    )
    return UserError.status if missing else 0


def _outline(config: EncoderConfig) -> ClipEncoder | None:
    """The encoder without values in its weights; None where it cannot be built without its weights file."""
    try:
        with torch.device("meta"):
            return config.network()
    except UserError:
        return None


def _missing_files(videos: list[AnnotatedVideo]) -> list[str]:
    gone = sorted(video.id for video in videos if video.file is None or not video.file.exists())
    if not gone:
        return []
    return [f"{console.count(len(gone), 'video')} to do without a file: {console.first_ten(gone)}"]


def _refusal(check: Callable[[], object]) -> list[str]:
    """The message of the error that `check` raises; none if it passes."""
    try:
        check()
    except ActlocError as error:
        return [str(error)]
    return []
