"""Imports other projects' feature files into a store, with the checks of the source `folders` and without changes."""

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actloc import console
from actloc.annotations.model import AnnotatedVideo
from actloc.errors import UserError, VideoError
from actloc.settings.sameness import shaping
from actloc.signals import StopFlag
from actloc.sources import folders, stored
from actloc.sources.base import SourceConfig
from actloc.sources.folders import source as folders_source
from actloc.store.filling import Outcome, describe, source_of
from actloc.store.foreign_files import FeatureFile, FeatureFileError
from actloc.store.info import FeatureInfo, Features
from actloc.store.store import IMPORTED, FeatureStore

Shape = tuple[int, int]
"""Steps and channels."""


def recipe_of(config: folders.Config, name: str) -> dict[str, Any]:  # Any: JSON values
    """Everything that determines imported features, apart from the files: their name, spacing and grid."""
    shaped = shaping(config, "features")
    grid = {*SourceConfig.model_fields, "fps_from"}
    return {
        IMPORTED: {
            "recipe": name,
            "folders": [path.name for path in (config.path, *config.more_paths)],
            **{key: value for key, value in shaped.items() if key not in grid},
        },
        "features": {key: value for key, value in shaped.items() if key in grid},
    }


def paths_of(config: folders.Config, video: AnnotatedVideo) -> list[Path]:
    """The files of the video's features, one per folder."""
    return [file.path for file in config.files(video)]


@dataclass(frozen=True)
class Survey:
    """The contents of the files' headers: the shape of each video that can be imported, and why the others cannot."""

    shapes: dict[str, Shape]
    refused: dict[str, VideoError]


def survey(config: folders.Config, videos: list[AnnotatedVideo]) -> Survey:
    """Reads the header of every video's file; raises UserError with the likely cause if most of them do not fit."""
    present, missing = config.split(videos)
    if videos and not present:
        first = config.missing_files(videos[0], config.names())[0]
        raise UserError(
            f"{config.path} has features for none of {console.count(len(videos), 'video')}: {first} is missing.",
            "Expected a file, or a dataset in an HDF5 file, for each video.",
            "Check features.path, features.prefix and features.suffix.",
        )
    names = config.names()
    refused = {video.id: _missing(config.missing_files(video, names), video) for video in missing}
    shapes = _shapes(config, present, refused)
    readable = [video for video in present if video.id in shapes]
    for video in readable:
        folders_source.fps_of(video, config)  # report a missing frame rate before anything is written
    refused.update(_misfits(config, readable, {name: steps for name, (steps, _) in shapes.items()}))
    refused.update(_other_channels(config, shapes))
    return Survey({name: shape for name, shape in shapes.items() if name not in refused}, refused)


def _missing(absent: list[FeatureFile], video: AnnotatedVideo) -> VideoError:
    expected = ", ".join(map(str, absent))
    return VideoError("not_a_file", f"there are no features of {video.id}", expected, "none")


def _shapes(config: folders.Config, videos: list[AnnotatedVideo], refused: dict[str, VideoError]) -> dict[str, Shape]:
    """The shapes of the files that can be read; `refused` gets the others."""
    shapes, wrong = {}, []
    with console.progress("reading file headers", len(videos)) as bar:
        for video in videos:
            try:
                shapes[video.id] = config.shape(video)
            except FeatureFileError as error:
                wrong.append(error)
                refused[video.id] = _as_failure(error)
            bar(1)
    if 2 * len(wrong) > len(videos):
        more = f" Of {len(videos)} videos, {len(wrong) - 1} more cannot be used either." if len(wrong) > 1 else ""
        raise UserError(f"{wrong[0].found}{more}", wrong[0].expected, wrong[0].fix)
    return shapes


def _as_failure(error: FeatureFileError) -> VideoError:
    return VideoError(error.reason, error.found, error.expected)


def _misfits(config: folders.Config, videos: list[AnnotatedVideo], steps: dict[str, int]) -> dict[str, VideoError]:
    """Videos whose number of rows does not match their duration, unless the settings allow that."""
    timed, misfits = folders_source.misfits(config, videos, steps)
    if config.allow_misfits or 2 * len(misfits) > len(timed):
        folders_source.check_grid(config, videos, steps)
        return {}
    cause = folders_source.likely_cause(config, misfits, timed, steps) if misfits else ""
    return {video.id: _misfit(config, video, steps[video.id], cause) for video in misfits}


def _misfit(config: folders.Config, video: AnnotatedVideo, steps: int, cause: str) -> VideoError:
    expected = folders_source.expected_rows(config, video)
    return VideoError(
        "truncated" if steps < expected else "unsupported",
        f"its number of rows does not match its duration of {video.duration_s} s. {cause}",
        f"{expected} rows (tolerance {config.tolerance_steps:g}), or features.allow_misfits=true",
        console.count(steps, "row"),
    )


def _other_channels(config: folders.Config, shapes: dict[str, Shape]) -> dict[str, VideoError]:
    """Videos whose number of channels differs from most."""
    counts = Counter(channels for _, channels in shapes.values())
    if len(counts) < 2:
        return {}
    usual, count = counts.most_common(1)[0]
    if 2 * count < len(shapes):
        raise UserError(
            f"The features in {config.path} have {len(counts)} different numbers of channels.",
            "Expected the same number for every video.",
            "Check features.channels_first: the axes of steps and channels are probably swapped.",
        )
    return {
        name: VideoError(
            "unsupported",
            f"it has {console.count(channels, 'channel')}",
            f"{usual}, like {count} others",
            f"{channels}",
        )
        for name, (_, channels) in shapes.items()
        if channels != usual
    }


def import_videos(
    config: folders.Config,
    videos: Sequence[AnnotatedVideo],
    store: FeatureStore,
    recipe: dict[str, Any],  # Any: JSON values
    stop: StopFlag,
) -> Generator[tuple[str, Outcome]]:
    """Puts each video's features into the store; raises Stopped between videos at a signal."""
    for video in videos:
        stop.raise_if_set()
        try:
            array: Features = config.read(video).numpy()
            yield video.id, store.write(video.id, array, _info(config, video, array, recipe), config.dtype)
        except FeatureFileError as error:
            yield video.id, _as_failure(error)
        except VideoError as error:
            yield video.id, error


def _info(config: folders.Config, video: AnnotatedVideo, array: Features, recipe: dict[str, Any]) -> FeatureInfo:
    fps = folders_source.fps_of(video, config)
    frames = (len(array) - 1) * config.stride_frames + config.clip_frames
    if video.duration_s is not None:
        frames = round(video.duration_s * fps)
    return describe(
        video.id,
        source_of(paths_of(config, video)),
        encoder=recipe[IMPORTED]["recipe"],
        weights_sha256=None,
        recipe=recipe,
        spacing=config.spacing,
        fps=fps,
        frame_count=frames,
        duration_s=frames / fps if video.duration_s is None else video.duration_s,
        reader=config.name,
    )


def settings_afterwards(config: folders.Config, store: Path) -> dict[str, Any]:  # Any: YAML values
    """The `features:` block that reads from the store the same features as `config` from the original files."""
    has_own_rates = config.fps == "native" or config.fps_from == "annotations"
    shared = config.model_dump(include=set(SourceConfig.model_fields) - {"name", "path", "fps"})
    block = stored.Config(path=store, fps="native" if has_own_rates else config.fps, **shared)
    return {"name": block.name, **block.model_dump(mode="json", exclude_defaults=True)}
